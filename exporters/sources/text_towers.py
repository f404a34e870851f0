"""Models of text beside images or sound (CLIP, SigLIP): the class of their text half, and which of
its outputs is a text's vector."""

from dataclasses import dataclass

EMBEDS, POOLED = "text_embeds", "pooler_output"


@dataclass(frozen=True)
class TextTower:
    """How the text half of an architecture is read.

    Attributes:
        name: its class in transformers.
        vector: the output that is one vector a text.
        whole: the folder holds the other half too.
        reads_padding: texts are filled up to one length, and the padding is read as text is.
    """

    name: str
    vector: str
    whole: bool = False
    reads_padding: bool = False


_PROJECTED = "TextModelWithProjection"
_TOWERS = {
    "CLIPModel": TextTower("CLIPTextModelWithProjection", EMBEDS, whole=True),
    "CLIPTextModel": TextTower("CLIPTextModel", POOLED),
    "SiglipModel": TextTower("SiglipTextModel", POOLED, whole=True, reads_padding=True),
    "SiglipTextModel": TextTower("SiglipTextModel", POOLED, reads_padding=True),
    "Siglip2Model": TextTower("Siglip2TextModel", POOLED, whole=True, reads_padding=True),
    "Siglip2TextModel": TextTower("Siglip2TextModel", POOLED, reads_padding=True),
}


def text_tower(architecture: str | None) -> TextTower | None:
    """Of an architecture's class name; None where it is no such model, or not known here."""
    if architecture is not None and architecture.endswith(_PROJECTED):
        return TextTower(architecture, EMBEDS)
    return _TOWERS.get(architecture or "")
