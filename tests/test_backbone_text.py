"""Any encoder or decoder as a backbone: read strictly, moved by no padding, trained by LoRA."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from damage import Trap, edited
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from armap_agents.errors import ConfigurationError
from armap_agents.reward.backbones import Part, new_backbone, open_backbone
from armap_agents.reward.backbones.text import QUESTION, TextBackbone, written
from armap_agents.reward.backbones.tokens import padded
from armap_agents.reward.render import Rendered, RenderedStep

OPTIONS = {"rank": 4, "alpha": 8, "max_tokens": 400}
DECODERS, ENCODERS = ("llama", "gpt2"), ("bert", "roberta", "distilbert")
KINDS = (*DECODERS, *ENCODERS)
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")


def save_tiny(kind: str, folder: Path) -> Path:
    """Write a random model of a kind and a tokenizer of bytes, and return the folder."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    pieces = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokens = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    around = "<s> $A </s>" if kind in ENCODERS else "<s> $A"
    tokens.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    known: dict[str, str] = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    if kind in ENCODERS:
        known["pad_token"] = "<pad>"  # decoders often come without one
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokens, **known)
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    shared = SIZES | {"vocab_size": len(pieces), "max_position_embeddings": 600}
    wide = {"intermediate_size": 48, "initializer_range": 0.2}
    config = {
        "llama": lambda: transformers.LlamaConfig(**shared, **wide),
        "gpt2": lambda: transformers.GPT2Config(**shared, n_inner=48, initializer_range=0.2),
        "bert": lambda: transformers.BertConfig(**shared, **wide),
        "roberta": lambda: transformers.RobertaConfig(**shared, **wide, pad_token_id=0),
        "distilbert": lambda: transformers.DistilBertConfig(
            vocab_size=len(pieces), dim=32, n_layers=2, n_heads=2, hidden_dim=48
        ),
    }[kind]()
    whole = kind in DECODERS
    made = transformers.AutoModelForCausalLM if whole else transformers.AutoModelForMaskedLM
    made.from_config(config).save_pretrained(folder)
    return folder


def episode(*actions: str, asked: str = "open the door") -> Rendered:
    steps = [RenderedStep("", "the kitchen")]
    steps += [RenderedStep(action, f"you {action}") for action in actions]
    return Rendered(asked, tuple(steps))


EPISODES = (
    episode("look around", "open the door", "go to the hall"),
    episode(),
    episode("wait", asked="wait"),
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("text")
    return {kind: save_tiny(kind, root / kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def backbone(request: pytest.FixtureRequest, folders: dict[str, Path]) -> TextBackbone:
    return fresh(folders[request.param])


@pytest.fixture
def copy(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A Llama to damage."""
    return shutil.copytree(folders["llama"], tmp_path / "copy")


def fresh(folder: Path, **options: int) -> TextBackbone:
    torch.manual_seed(0)
    made = new_backbone("hf-text", str(folder), OPTIONS | options)
    assert isinstance(made, TextBackbone)
    return made.eval()


def parts(backbone: TextBackbone, *episodes: Rendered) -> list[Part]:
    return [part for one in episodes for part in backbone.parts(one)]


@torch.no_grad()
def encoded(backbone: TextBackbone, *episodes: Rendered) -> Tensor:
    return backbone.encode(parts(backbone, *episodes))


def test_everything_stands_in_order_and_the_question_last() -> None:
    text = written(episode("look around", "open the door"))
    order = (
        "open the door",
        "the kitchen",
        "look around",
        "you look around",
        "Action: open",
        QUESTION,
    )
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert text.endswith(QUESTION)


@pytest.mark.parametrize("kind", KINDS)
def test_decoders_read_the_last_token_and_encoders_the_mean(
    folders: dict[str, Path], kind: str
) -> None:
    made = fresh(folders[kind])
    assert made.causal is (kind in DECODERS)
    (part,) = made.parts(EPISODES[0])
    ids = torch.tensor([part.ids])
    with torch.no_grad():
        hidden = made.model(input_ids=ids).last_hidden_state[0]
    expected = hidden[-1] if made.causal else hidden.mean(0)
    torch.testing.assert_close(encoded(made, EPISODES[0])[0], expected, rtol=0, atol=1e-5)


def test_padding_moves_nothing(backbone: TextBackbone) -> None:
    together = encoded(backbone, *EPISODES)
    assert together.dtype == torch.float32
    assert (torch.cdist(together, together) + torch.eye(3)).min() > 1e-3
    for i, one in enumerate(EPISODES):
        torch.testing.assert_close(encoded(backbone, one)[0], together[i], rtol=0, atol=1e-5)
    rows = [part.ids[::-1] for part in parts(backbone, *EPISODES)]
    flipped, mask = padded(rows, backbone.padding)
    with torch.no_grad():
        left = backbone.vectors(flipped.flip(1), mask.flip(1))
    if (
        backbone._numbered
    ):  # the others count from the first column, so they are padded on the right
        torch.testing.assert_close(left, together, rtol=0, atol=1e-5)


def test_lora_alone_trains_saves_and_comes_back(backbone: TextBackbone, tmp_path: Path) -> None:
    made = backbone
    trainable = {name for name, weight in made.named_parameters() if weight.requires_grad}
    assert trainable
    assert all(".lora_" in name for name in trainable)
    assert not any(part in name for name in trainable for part in ("embed", "pooler", "head."))
    before = {name: weight.clone() for name, weight in made.named_parameters()}
    made.checkpointing()
    made.train()
    head = nn.Linear(made.width, 1)
    weights = [weight for weight in made.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW([*weights, *head.parameters()], lr=5e-3)
    items = parts(made, episode("open the door"), episode("wait"))
    losses = []
    for _ in range(25):
        better, worse = head(made.encode(items))
        loss = -nn.functional.logsigmoid(better - worse).squeeze()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 < losses[0]
    made.eval()
    for name, weight in made.named_parameters():
        assert (name in trainable) or torch.equal(weight, before[name]), name
    made.save(tmp_path)
    again = open_backbone(made.spec)
    again.load(tmp_path)
    assert not any(weight.requires_grad for weight in again.parameters())
    with torch.no_grad():
        scores, reloaded = (head(b.eval().encode(items)) for b in (made, again))
    torch.testing.assert_close(reloaded, scores, rtol=0, atol=1e-5)


def test_the_limit_keeps_within_the_models_positions(folders: dict[str, Path]) -> None:
    assert fresh(folders["llama"], max_tokens=9999).limit == 600
    made = fresh(folders["roberta"], max_tokens=9999)
    assert made.limit == 600 - 1  # its first position belongs to the padding
    (part,) = made.parts(episode(*["go to the hall"] * 300))
    assert 500 < part.length <= made.limit
    with torch.no_grad():
        assert made.encode([part]).isfinite().all()
    assert fresh(folders["distilbert"], max_tokens=9999).limit == 512


@settings(deadline=None, max_examples=40)
@given(
    texts=st.lists(st.tuples(st.text(max_size=60), st.text(max_size=400)), max_size=12),
    asked=st.text(max_size=500),
    limit=st.integers(180, 400),
)
def test_parts_keep_every_limit(
    folders: dict[str, Path], texts: list[tuple[str, str]], asked: str, limit: int
) -> None:
    made = _once(folders["gpt2"])
    made.limit = limit
    steps = tuple(RenderedStep(*text) for text in texts) or (RenderedStep("", ""),)
    (part,) = made.parts(Rendered(asked, steps))
    assert part.length == len(part.ids) <= limit
    assert made.tokenizer.decode(part.ids).endswith(QUESTION)
    assert set(part.ids[1:]).isdisjoint(range(4))  # no special token out of a text


_ONCE: list[TextBackbone] = []


def _once(folder: Path) -> TextBackbone:
    if not _ONCE:
        _ONCE.append(fresh(folder))
    return _ONCE[0]


def test_a_page_of_megabytes_is_read_quickly_and_its_newest_step_stays(
    folders: dict[str, Path],
) -> None:
    made = fresh(folders["llama"])
    page = RenderedStep("look", "a page of many words " * 200_000)
    (part,) = made.parts(Rendered("read", (page, page, RenderedStep("go", "the end of it all"))))
    text = made.tokenizer.decode(part.ids)
    assert part.length <= made.limit
    assert "the end of it all" in text
    assert "…" in text


def test_names_of_special_tokens_in_a_text_are_text(backbone: TextBackbone) -> None:
    (part,) = backbone.parts(episode("say </s> <s> <pad> <unk>"))
    ends = 2 if backbone.causal else 3
    assert sum(i < len(SPECIAL) for i in part.ids) == ends - 1


def test_bfloat16_on_request(folders: dict[str, Path]) -> None:
    half = new_backbone("hf-text", str(folders["llama"]), OPTIONS, dtype=torch.bfloat16)
    assert isinstance(half, TextBackbone)
    assert {w.dtype for w in half.parameters() if not w.requires_grad} == {torch.bfloat16}
    rough, exact = encoded(half, EPISODES[0]), encoded(fresh(folders["llama"]), EPISODES[0])
    assert rough.dtype == torch.float32
    assert torch.cosine_similarity(rough, exact).item() > 0.98


def test_missing_and_misshapen_tensors_are_named(copy: Path) -> None:
    path, name = copy / "model.safetensors", "model.layers.0.mlp.up_proj.weight"
    good = path.read_bytes()
    edited(path, lambda tensors: tensors.pop(name))
    with pytest.raises(ConfigurationError, match=r"lacks 1 tensors .* layers.0.mlp.up_proj"):
        fresh(copy)
    path.write_bytes(good)
    edited(path, lambda tensors: tensors.update({name: torch.ones(2, 2)}))
    with pytest.raises(ConfigurationError, match=r"another shape.* layers.0.mlp.up_proj"):
        fresh(copy)
    path.write_bytes(good)
    edited(path, lambda tensors: tensors.pop("lm_head.weight"))
    assert fresh(copy).causal  # a head is not needed


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", b"{", "cannot be read as a text model"),
        ("config.json", b'{"model_type": "llava_llama"}', "cannot be read as a text model"),
        ("config.json", b'{"model_type": "t5"}', "encoder with a decoder"),
        ("model.safetensors", b"cut", "cannot be read as a text model"),
        ("model.safetensors", None, "has no model.safetensors"),
        ("tokenizer.json", b"cut", "the tokenizer in"),
    ],
)
def test_a_foreign_or_damaged_folder_is_one_line(
    copy: Path, file: str, content: bytes | None, message: str
) -> None:
    if content is None:
        (copy / file).unlink()
    else:
        (copy / file).write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as told:
        fresh(copy)
    assert "\n" not in str(told.value)


def test_nothing_is_unpickled_and_no_code_of_the_folder_runs(copy: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(sprung)))
    (copy / "trap.py").write_text(f"open({str(sprung)!r}, 'w')\nclass Trap: ...\n")
    names = ("AutoConfig", "AutoModel", "AutoTokenizer")
    code = {"auto_map": dict.fromkeys(names, "trap.Trap")}
    for file in ("config.json", "tokenizer_config.json"):
        path = copy / file
        path.write_text(json.dumps(json.loads(path.read_text()) | code))
    fresh(copy)
    path = copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "trap"}))
    with pytest.raises(ConfigurationError, match="cannot be read as a text model"):
        fresh(copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(ConfigurationError, match=r"convert pytorch_model\.bin"):
        fresh(copy)
    assert not sprung.exists()


def test_wrong_options_and_missing_weights_are_named(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigurationError, match="no option 'pooling'"):
        new_backbone("hf-text", str(folders["bert"]), {"pooling": "mean"})
    with pytest.raises(ConfigurationError, match="100 tokens are too few"):
        fresh(folders["bert"], max_tokens=100)
    with pytest.raises(ConfigurationError, match="--weights FOLDER"):
        new_backbone("hf-text", None, {})
