"""What agents act with: one package per environment, with its LangChain tools."""
