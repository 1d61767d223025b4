"""Texts as classes: an image tower with a file of texts answers as open_clip does; what does not fit is refused."""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from streamlit.testing.v1 import AppTest
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import nn

from xai_core import explain, load_model
from xai_core.__main__ import main
from xai_core.analysis import text_controls
from xai_core.app.shared import page_links
from xai_core.core import settings
from xai_core.core.errors import BadRequest, WeightsUnavailable
from xai_core.data.recipe import Recipe
from xai_core.explanation.targets import SimilarityToText
from xai_core.models import prompt_writer, prompts
from xai_core.models.explainable import ExplainableModel
from xai_core.models.prompt_list import PromptList, described
from xai_core.models.zoo.catalog import broken_cards, cards

ROOT = Path(__file__).parents[2]
ANIMALS = ("tabby cat", "tiger", "red fox", "old dog")
TEXT = CLIPTextCfg(context_length=24, vocab_size=49408, width=32, heads=2, layers=2)
TOKENIZE = SimpleTokenizer(context_length=24)
TEMPLATES = ("a photo of a {}.", "{}", "the {} in the snow")


def clip() -> nn.Module:
    """CLIP as open_clip writes it: its own vision transformer with a projection."""
    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=2, width=64, head_width=32, patch_size=8, image_size=32)
    return open_clip.CLIP(24, vision, TEXT).eval()


def clip_tower(model: nn.Module) -> nn.Module:
    """The image tower in timm's form, by timm's own conversion."""
    tower = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=2, num_classes=24, pre_norm=True, norm_layer=nn.LayerNorm
    )
    state = {f"visual.{name}": value for name, value in model.visual.state_dict().items()}
    tower.load_state_dict(checkpoint_filter_fn(state, tower))
    return tower


def siglip() -> nn.Module:
    """SigLIP as open_clip writes it: timm's tower with an attention pool, a scale and a bias."""
    torch.manual_seed(0)
    trunk = {"timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none", "image_size": 160}
    model = open_clip.CustomTextCLIP(64, CLIPVisionCfg(**trunk), TEXT, init_logit_scale=np.log(10), init_logit_bias=-10)
    return model.eval()


def made(tmp_path, model, names=ANIMALS, templates=TEMPLATES):
    file = tmp_path / "animals.safetensors"
    prompts.write(file, *prompt_writer.encoded(model, TOKENIZE, names, templates, tower="tiny"))
    return file


@pytest.mark.parametrize("which", ["clip", "siglip"])
def test_the_answers_are_those_of_open_clip(tmp_path, which):
    """Cosines within 1e-4 of open_clip's, from the same tower; logits are its scale and bias."""
    theirs = clip() if which == "clip" else siglip()
    tower = clip_tower(theirs) if which == "clip" else theirs.visual.trunk
    side = 32 if which == "clip" else 160
    model = ExplainableModel.from_module(tower, recipe=Recipe(side, side, mean=None, std=None), embeds=True)
    zero_shot = prompts.with_texts(model, made(tmp_path, theirs, templates=["{}"]))
    images = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        pictures = nn.functional.normalize(theirs.encode_image(images), dim=-1)
        texts = nn.functional.normalize(theirs.encode_text(TOKENIZE(list(ANIMALS))), dim=-1)
    cosines = pictures @ texts.T
    bias = -10.0 if which == "siglip" else 0.0
    logits = zero_shot.outputs(images).logits
    assert (logits - theirs.logit_scale.exp() * cosines - bias).abs().max() < 1e-4 * theirs.logit_scale.exp()
    assert zero_shot.class_names == ANIMALS and zero_shot.has_classifier and zero_shot.class_index("tiger") == 1
    for number, text in enumerate(ANIMALS):
        question = text_controls.text_target(zero_shot, text)
        assert (question(zero_shot.outputs(images)) - cosines[:, number]).abs().max() < 1e-4


def test_several_templates_are_averaged_on_the_sphere():
    model = clip()
    about, vectors, controls = prompt_writer.encoded(model, TOKENIZE, ANIMALS, TEMPLATES, tower="tiny", seed=3)
    with torch.no_grad():
        each = [model.encode_text(TOKENIZE([template.format("tiger")]), normalize=True) for template in TEMPLATES]
    mean = torch.cat(each).mean(0)
    assert torch.allclose(vectors[1], mean / mean.norm(), atol=1e-6)
    assert about.controls == prompt_writer.nonsense(8, 3) and controls.shape == (8, 24)
    assert prompt_writer.nonsense(8, 3) != prompt_writer.nonsense(8, 4) and len(set(about.controls)) == 8
    assert about.scale == pytest.approx(model.logit_scale.exp().item()) and about.bias == 0


def test_what_is_written_is_read_without_torch_and_as_it_was(tmp_path):
    file = made(tmp_path, clip())
    about, texts = described(file), prompts.read(file)
    assert about == texts.about and about.names == ANIMALS and about.templates == TEMPLATES and about.seed == 0
    again = prompt_writer.encoded(clip(), TOKENIZE, ANIMALS, TEMPLATES, tower="tiny")[1]
    assert torch.equal(texts.get_buffer("vectors"), again)


@pytest.mark.parametrize(
    ("names", "templates", "words"),
    [
        (["cat"], ["{}"], "Give 2 to 25,000 texts; these are 1"),
        (["cat", " cat "], ["{}"], "'cat' is there twice"),
        (["cat", ""], ["{}"], "A text is empty"),
        (["cat", "dog"], ["a photo"], "A template needs {} where the text goes; 'a photo' has none"),
        (["cat", "dog"], [], "A template needs {}"),
    ],
)
def test_texts_that_cannot_be_used_are_refused(names, templates, words):
    with pytest.raises(BadRequest, match=words):
        prompt_writer.encoded(clip(), TOKENIZE, names, templates, tower="tiny")


ABOUT = PromptList(("cat", "dog"), ("bo",), 10.0, 0.0, "tiny", ("{}",), 0, 4)
UNIT = torch.eye(4)


@pytest.mark.parametrize(
    ("tensors", "about", "words"),
    [
        ({"vectors": UNIT[:2] * 2, "controls": UNIT[:1]}, ABOUT, "not of length 1"),
        ({"vectors": UNIT[:2] * float("nan"), "controls": UNIT[:1]}, ABOUT, "not of length 1"),
        ({"vectors": UNIT[:3], "controls": UNIT[:1]}, ABOUT, "which do not fit its list of texts"),
        ({"vectors": UNIT[:2], "other": UNIT[:1]}, ABOUT, "no file of texts that `prompts` has made"),
        ({"vectors": UNIT[:2], "controls": UNIT[:1]}, None, "no file of texts that `prompts` has made"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path, tensors, about, words):
    file = tmp_path / "wrong.safetensors"
    safetensors.torch.save_file(
        {name: value.clone() for name, value in tensors.items()}, file, about.metadata() if about else {"format": "pt"}
    )
    with pytest.raises(BadRequest, match=words):
        prompts.read(file)


def test_no_file_of_texts_is_refused(tmp_path):
    for content in (b"", b"\xff" * 20, b"PK\x03\x04 and so on"):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(BadRequest, match="no file of texts"):
            described(tmp_path / "other")
    with pytest.raises(BadRequest, match="cannot be read"):
        described(tmp_path / "missing")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A weights folder with the image tower of a card, and a text tower that stands for a published one."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("XAI_WEIGHTS", str(folder))
    monkeypatch.delenv("XAI_SHARED_WEIGHTS", raising=False)
    monkeypatch.setattr(settings, "RESOURCES", tmp_path)
    theirs = siglip()
    trunk = {name: value.contiguous() for name, value in theirs.visual.trunk.state_dict().items()}
    pooled = {name: value for name, value in trunk.items() if not name.startswith("attn_pool")}
    safetensors.torch.save_file(pooled, folder / "tower.safetensors")
    card = {"architecture": "timm/test_vit", "file": "tower.safetensors", "input_size": 160}
    (folder / "tower.toml").write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in card.items()))
    monkeypatch.setattr(prompt_writer, "text_tower", lambda name, weights: (theirs, TOKENIZE, f"{name} {weights}"))
    return folder


COMMAND = ["prompts", "--model", "tower", "--text-model", "tiny", "--text-weights", "made"]


def test_the_command_makes_a_model_that_pages_and_commands_use(folder, tmp_path, capsys):
    assert main([*COMMAND, "--name", "animals", *ANIMALS]) == 0
    out = capsys.readouterr().out
    assert "4 texts, 64 numbers each; controls without a meaning:" in out and "animals.toml" in out
    card = cards()["animals"]
    assert card.classes == ANIMALS and card.base == "tower" and card.prompts and "zero-shot" in card.supervision
    model = load_model("animals")
    assert model.id == "animals" and model.class_names == ANIMALS
    without_card = load_model("tower", prompts=folder / "animals.safetensors")
    assert without_card.class_names == ANIMALS and without_card.fingerprint == model.fingerprint
    with pytest.raises(BadRequest, match="cannot be read"):
        load_model("tower", prompts=folder / "other.safetensors")
    picture = Image.effect_mandelbrot((200, 180), (-2, -1, 1, 1), 40).convert("RGB")
    result = explain(model, picture, "grad_cam", target="red fox")
    assert result.target == "logit of red fox" and result.heatmap.shape == (10, 10)
    folders = tmp_path / "data"
    for name in ANIMALS[:2]:
        (folders / name).mkdir(parents=True)
        picture.save(folders / name / "a.png")
    assert main(["classify", str(folders), "--model", "animals", "--out", str(tmp_path / "run.parquet")]) == 0
    out = ["--out", str(tmp_path / "measured")]
    assert main(["evaluate", str(folders), "--model", "animals", "--method", "grad_cam", "--metric", "deletion", *out]) == 0
    assert main([*COMMAND, "--name", "animals", *ANIMALS]) == 2
    assert "cannot be the model's name" in capsys.readouterr().err


def test_single_image_asks_for_the_words_and_shows_texts_without_a_meaning(folder, monkeypatch):
    assert main([*COMMAND, "--name", "animals", *ANIMALS]) == 0
    app = AppTest.from_file(str(ROOT / "Home.py"), default_timeout=120)
    app.switch_page(page_links.FILES[page_links.SINGLE])
    app.query_params["model"] = cards()["animals"].title
    app.query_params["class"] = "tiger (1)"
    app.run()
    assert not app.exception and not app.error
    words = " ".join(element.value for element in app.markdown)
    assert "Does the answer depend on the words?" in words and "With 8 texts without a meaning" in words
    (control,) = (box for box in app.selectbox if box.label == "Map for a text without a meaning")
    control.select(control.options[1]).run()
    assert not app.exception and not app.error
    words = " ".join(element.value for element in app.markdown)
    assert f"Rank correlation of the maps for 'tiger' and '{control.options[1]}'" in words


def test_the_sentence_is_true_of_planted_cosines():
    cosines = text_controls.TextCosines(np.float32([0.3, 0.1]), np.float32([0.05, 0.1, 0.2]))
    assert cosines.words_of(0, ("cat", "dog"), 7) == (
        "Cosine with 'cat': 0.300. With 3 texts without a meaning: 0.050 to 0.200 (seed 7); none of them is as high."
    )
    assert cosines.words_of(1, ("cat", "dog"), 7).endswith("2 of them are as high or higher.")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": ["a", "b"]}, "its prompts are its classes"),
        ({"base": "nothing"}, "its base 'nothing' is not a model of this project"),
        ({"base": "timm/nothing"}, "its base 'timm/nothing' cannot be used"),
        ({"base": "timm/resnet18.a1_in1k"}, "has classes already, and is no image tower"),
        ({"prompts": "../animals.safetensors"}, "lies outside the folder"),
        ({"prompts": "tower.safetensors"}, "no file of texts"),
    ],
)
def test_a_card_that_is_wrong_says_so(folder, changes, words):
    assert main([*COMMAND, "--name", "animals", *ANIMALS]) == 0
    given = {"base": "tower", "prompts": "animals.safetensors"} | changes
    (folder / "wrong.toml").write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in given.items()))
    (problem,) = map(str, broken_cards().values())
    assert words in problem


def test_texts_may_stand_in_a_file(folder, tmp_path, capsys):
    (tmp_path / "words.txt").write_text("tiger\n\n  old dog \n")
    assert main([*COMMAND, "--name", "animals", "red fox", "--file", str(tmp_path / "words.txt"), "--template", "{}"]) == 0
    assert cards()["animals"].classes == ("red fox", "tiger", "old dog") and "'{}'" in cards()["animals"].remark
    assert main([*COMMAND, "--name", "others", "--file", str(tmp_path / "none.txt")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_text_tower_that_cannot_be_had_is_named(tmp_path):
    with pytest.raises(BadRequest, match=r"open_clip has no model 'ViT-B-99'; it has .*ViT-B-16"):
        prompt_writer.text_tower("ViT-B-99", "openai")
    for weights in ("no_such_tag", str(tmp_path / "missing.pt")):
        with pytest.raises(WeightsUnavailable, match=r"cannot be had: .*Its weights: openai, .*or give a file"):
            prompt_writer.text_tower("ViT-B-32", weights)


def test_texts_of_another_tower_do_not_fit(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(prompt_writer, "text_tower", lambda name, weights: (clip(), TOKENIZE, "another"))
    assert main([*COMMAND, "--name", "animals", *ANIMALS]) == 2
    assert "have 24 numbers each and the embeddings of tower have 64" in capsys.readouterr().err
    assert not [*folder.glob("animals*")]


def test_a_text_target_needs_texts(lite0):
    with pytest.raises(BadRequest, match="The classes of EfficientNet-Lite0 are no texts"):
        text_controls.text_target(lite0, "cat")
    with pytest.raises(BadRequest, match="2 vectors have 1 texts"):
        SimilarityToText(torch.ones(2, 3), texts=("a",))
    assert SimilarityToText(torch.ones(2, 3), texts=("a", "b")).select([1]).label(0, str) == "similarity to the words 'b'"
