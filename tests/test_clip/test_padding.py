"""Prompts without their padding give the features they have with it."""

import open_clip
import pytest
import torch

from lift_mm.clip.padding import encode_text

VISION = dict(image_size=8, layers=1, width=64, patch_size=8)
TEXT = dict(context_length=20, vocab_size=50, width=16, heads=2, layers=2)


def clip(**text):
    torch.manual_seed(0)
    return open_clip.CLIP(8, VISION, dict(TEXT, **text))


def custom(**text):
    torch.manual_seed(0)
    return open_clip.CustomTextCLIP(8, VISION, dict(TEXT, **text))


def prompts(*lengths):
    tokens = torch.zeros(len(lengths), 20, dtype=torch.long)
    for row, length in zip(tokens, lengths):
        row[: length - 1] = torch.randint(1, 48, (length - 1,))
        row[length - 1] = 49
    return tokens


@pytest.mark.parametrize(
    'model, read',
    [
        (clip(), 7),
        (custom(), 7),
        # Not causal, another end, a token behind the text: all is read.
        (custom(no_causal_mask=True), 20),
        (custom(pool_type='last'), 20),
        (custom(embed_cls=True), 20),
    ],
)
@torch.no_grad()
def test_same_features(model, read):
    model.eval()
    tokens = prompts(3, 7, 5)
    seen = []
    embedding = getattr(model, 'text', model).token_embedding
    hook = embedding.register_forward_pre_hook(
        lambda module, args: seen.append(args[0].shape[1])
    )
    found = encode_text(model, tokens)
    hook.remove()
    assert seen == [read]
    whole = model.encode_text(tokens)  # nothing has stayed short
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-6)
