from pathlib import Path

import numpy as np
from tiny_backbone import save_tiny_backbone

from armap_agents.evaluation import Cosine
from armap_agents.reward.untrained import UntrainedEncoder
from armap_agents.tools.game24.environment import play, puzzle_task


def test_embeddings_do_not_depend_on_their_batch(tmp_path: Path) -> None:
    encoder = UntrainedEncoder(str(save_tiny_backbone(tmp_path)))
    texts = [f"{k} : {k} 24" for k in range(100)] + ["7"]
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert together.shape == (101, 32)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.linalg.matrix_rank(together) > 5


async def test_it_serves_as_the_cosine_selector(tmp_path: Path) -> None:
    encoder = UntrainedEncoder(str(save_tiny_backbone(tmp_path)))
    cosine = Cosine(encoder.encode, encoder.fingerprint)
    task = puzzle_task([4, 9, 10, 13])
    short, long = play(task, ["13 - 9 = 4"]), play(task, ["13 - 9 = 4", "10 - 4 = 6"])
    scores = await cosine.ascore([short, long, short])
    assert scores[0] == scores[2] != scores[1]
    assert all(-1 <= score <= 1 for score in scores)
