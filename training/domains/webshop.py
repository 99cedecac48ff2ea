"""What data generation knows about WebShop beyond its environment.

A random shopper buys things; what was bought is put into an instruction in the official style, out
of the words and options that its pages showed; and the ways to shop wrong stay on the same page of
results. Of goals and hidden fields one thing alone is used: which products the test and dev goals
ask for. Shoppers leave those alone and no instruction asks for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from armap_agents.environment import Environment
from armap_agents.errors import ConfigurationError
from armap_agents.reward.render import Rendering
from armap_agents.training.domain import Choose, Continuations, Corruption, Instruction
from armap_agents.training.domains.webshop_asks import Asked
from armap_agents.training.domains.webshop_corruptions import corruptions
from armap_agents.training.domains.webshop_pages import StartPage, read
from armap_agents.training.domains.webshop_shopper import Shopper
from armap_agents.training.domains.webshop_visits import purchase
from armap_agents.training.domains.webshop_wording import asked_for
from armap_agents.training.explore import finish, replay
from armap_agents.trajectory import JSON, Task, Trajectory

POOL = "train-pool"
"""The split whose openings are explored."""

HELD_OUT = ("test", "dev")
"""The splits whose products are left alone."""

_NODE = r"(?:(?! \[SEP\] ).)"
_SHOWN_PRICE = r"\$[\d.]+(?: to \$[\d.]+)?"
_LISTED = 48  # characters of a title among the results
_CHOICES = 200  # characters of a product's options

SHORTEN = (
    # What was asked is read with every step, and the page's own may be another task's.
    (r"(?s)\AWebShop \[SEP\] Instruction: \[SEP\] .* \[SEP\] Search\Z", ""),
    (
        r"(?s)\AInstruction: \[SEP\] .*? \[SEP\] Back to Search(?: \[SEP\] < Prev)?"
        r"(?: \[SEP\] |\Z)",
        "",
    ),
    (r"\APage (\d+) \(Total results: \d+\)(?: \[SEP\] < Prev)? \[SEP\] Next >(?: \[SEP\] )?",
     r"page \1: "),
    # Among the results: no codes, and of long titles the beginning.
    (rf"(?s)\b([A-Z0-9]{{10}} \[SEP\] {_NODE}{{{_LISTED}}}){_NODE}+( \[SEP\] \$)", r"\1…\2"),
    (rf"(?s)\b[A-Z0-9]{{10}} \[SEP\] ({_NODE}+) \[SEP\] ({_SHOWN_PRICE})(?: \[SEP\] |\Z)",
     r"\1 \2; "),
    # Of a product: title and price first, then what can be chosen, as far as it is not too much.
    (rf"(?s)\A(?:(.*) \[SEP\] )?({_NODE}*) \[SEP\] Price: ({_SHOWN_PRICE}) \[SEP\] Rating: N\.A\."
     r" \[SEP\] Description \[SEP\] Features \[SEP\] Reviews \[SEP\] Buy Now\Z", r"\2, \3; \1"),
    (rf"(?s)\A((?>{_NODE}*?, {_SHOWN_PRICE}; ).{{{_CHOICES},}}?) \[SEP\] .*\Z", r"\1, …"),
    (r"(?s)\A(?>Thank you .*? asin \[SEP\] )\S+ \[SEP\] options \[SEP\] (.*?) \[SEP\] attrs .*\Z",
     r"bought with \1"),
    (r" \[SEP\] ", ", "),
    (r"; \Z", ""),
)  # fmt: skip
"""Takes out of the pages what never changes; see `Rendering.shorten`."""


class WebShopDomain:
    """Generation's knowledge of WebShop; see `armap_agents.training.domain.Domain`.

    `tasks` has to be called first: it finds out which products are held out.
    """

    environment = "webshop"
    rendering = Rendering(shorten=SHORTEN)
    options: Mapping[str, JSON] = {"render": False}
    continued_options: Mapping[str, JSON] = {"render": False}
    continuations = 8
    example = (
        "Find me a stackable, dishwasher safe teapot with color: slate, and size: 4 cups, and "
        "price lower than 40.00 dollars"
    )

    def __init__(self) -> None:
        self._held_out: frozenset[str] | None = None

    @property
    def held_out(self) -> frozenset[str]:
        """The ASINs of the products that test and dev goals ask for.

        Raises:
            ConfigurationError: No environment was asked yet.
        """
        if self._held_out is None:
            raise ConfigurationError("which products are held out is unknown: call tasks() first")
        return self._held_out

    def tasks(self, environment: Environment) -> list[Task]:
        """List the openings of the training goals whose product no test or dev goal asks for.

        Raises:
            ConfigurationError: The environment does not say which product a goal asks for.
        """
        product = getattr(environment, "group", None)
        evaluated = [task for split in HELD_OUT for task in environment.tasks(split)]
        if product is None or (evaluated and product(evaluated[0]) == evaluated[0].id):
            raise ConfigurationError(
                "which products are for evaluation, another server does not say: make the data in "
                "a shop of our own, without address=…"
            )
        self._held_out = frozenset(product(task).upper() for task in evaluated)
        return environment.tasks(POOL)

    def intent(self, opening: Trajectory, rng: Random) -> Choose:
        """Return a shopper with a random intent.

        Raises:
            ConfigurationError: Pages are shown in another form than the official ``text``.
        """
        if not isinstance(read(opening.observation), StartPage):
            raise ConfigurationError(
                "data is made from WebShop's plain pages: leave observation=… out"
            )
        return Shopper(opening.instruction, rng, self.held_out)

    def evaluated(self, trajectory: Trajectory) -> bool:
        """Whether what was bought is what a test or dev goal asks for."""
        bought = purchase(trajectory)
        return bought is not None and bought.asin in self.held_out

    def instruct(
        self, trajectory: Trajectory, rng: Random, constraints: int | None = None
    ) -> Instruction | None:
        """Return an instruction for what was bought, None for products that are held out."""
        bought = purchase(trajectory)
        if bought is None or bought.asin in self.held_out:
            return None
        found = asked_for(bought, trajectory.instruction, rng, constraints)
        return None if found is None else Instruction(found[1], found[0].to_json())

    def group(self, trajectory: Trajectory) -> str | None:
        """Return the product that was bought, None where none was."""
        bought = purchase(trajectory)
        return None if bought is None else bought.asin

    def grounded(self, text: str, instruction: Instruction) -> bool:
        """Whether a text names kind, features, options and limit, and no other option or price."""
        return Asked.from_json(instruction.asks).named_in(text)

    def fulfils(self, trajectory: Trajectory, instruction: Instruction) -> float:
        """Return how much of what is asked for was bought; 0.0 where nothing was."""
        bought = purchase(trajectory)
        return 0.0 if bought is None else Asked.from_json(instruction.asks).share(bought)

    def corruptions(
        self,
        trajectory: Trajectory,
        instruction: Instruction,
        others: Sequence[Trajectory],
        rng: Random,
    ) -> list[Corruption]:
        """Return ways to buy wrong, the more telling first; held-out products are in none."""
        asked = Asked.from_json(instruction.asks)
        return corruptions(trajectory, asked, others, lambda asin: asin not in self.held_out, rng)

    async def continued(
        self,
        environment: Environment,
        prefix: Trajectory,
        instruction: Instruction,
        count: int,
        rng: Random,
    ) -> Continuations:
        """Let random shoppers go on who choose what was asked for in half of the cases."""
        if prefix.done:
            return Continuations(1, self.fulfils(prefix, instruction))
        asked = Asked.from_json(instruction.asks)
        total, example = 0.0, None
        for _ in range(count):
            shopper = Shopper(instruction.text, rng, self.held_out, asked.options)
            start = await replay(environment, prefix, len(prefix))
            played = await finish(environment, start, shopper)
            returned = self.fulfils(played, instruction)
            total += returned
            if returned == 1.0 and example is None:
                example = tuple(played.actions[len(prefix) :])
        return Continuations(count, total, example)
