"""Self-made training data and the reward model's training: explore → refine → corrupt → train.

`generate` makes a data folder (`records` says what is in it), `train` makes a reward model of it.
`domain` is what generation must know about an environment; `game24` knows it of Game of 24.
"""
