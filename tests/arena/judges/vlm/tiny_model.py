"""A vision-language model of 150,000 parameters, made here from nothing: LLaVA with a CLIP eye of 16 x 16 pixels.

As it is initialised it babbles. `taught` makes it give one valid answer where the last picture is bright and another
where it is dark: whoever gets the right one has had pictures, words and schema go all the way through the server.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

PAD, BEGIN, END, IMAGE = "<pad>", "<s>", "</s>", "<image>"
SIDE, PATCH, VOCABULARY = 16, 8, 600
STEPS, RATE, LEARNED = 400, 4e-3, 0.02
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "{% endif %}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)
Messages = Sequence[dict[str, Any]]


def make(folder: Path, corpus: Sequence[str], lessons: Sequence[tuple[Messages, str]] = ()) -> Path:
    """Write a model, its tokenizer (learned from `corpus`) and its processor; taught to answer `lessons`."""
    processor = _processor(corpus)
    words = processor.tokenizer
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE,
                patch_size=PATCH, projection_dim=32,
            ),
            text_config=LlamaConfig(
                vocab_size=len(words), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=4096,
                bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
            ),
            image_token_index=words.convert_tokens_to_ids(IMAGE), vision_feature_layer=-1, image_seq_length=4,
        )
    )  # fmt: skip
    model.generation_config.eos_token_id = words.eos_token_id
    model.generation_config.pad_token_id = words.pad_token_id
    if lessons:
        _teach(model, processor, lessons)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _processor(corpus: Sequence[str]) -> Any:
    tokens = Tokenizer(models.BPE())
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[PAD, BEGIN, END, IMAGE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )  # fmt: skip
    tokens.train_from_iterator(corpus, trainer)
    words = PreTrainedTokenizerFast(tokenizer_object=tokens, bos_token=BEGIN, eos_token=END, pad_token=PAD)
    # The image processor that needs no torchvision.
    pictures = CLIPImageProcessorPil(size={"height": SIDE, "width": SIDE}, do_center_crop=False)
    return LlavaProcessor(
        image_processor=pictures, tokenizer=words, patch_size=PATCH, vision_feature_select_strategy="default",
        chat_template=TEMPLATE, image_token=IMAGE, num_additional_image_tokens=1,
    )  # fmt: skip


def _teach(model: Any, processor: Any, lessons: Sequence[tuple[Messages, str]]) -> None:
    batches = [_sample(processor, messages, answer) for messages, answer in lessons]
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE)
    model.train()
    for _ in range(STEPS):
        losses = [model(**batch).loss for batch in batches]
        optimiser.zero_grad()
        sum(losses).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if max(float(loss.detach()) for loss in losses) < LEARNED:
            break
    model.eval()


def _sample(processor: Any, messages: Messages, answer: str) -> dict[str, Any]:
    pictures, texts = [], []
    for message in messages:
        parts = message["content"]
        parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
        pictures += [_picture(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"]
        content = [{"type": "image"} if part["type"] == "image_url" else part for part in parts]
        texts.append({"role": message["role"], "content": content})
    prompt = processor.apply_chat_template(texts, add_generation_prompt=True, tokenize=False)
    asked = processor(text=prompt, images=pictures, return_tensors="pt")
    # Cut apart from the prompt, as a server has it: else a token could span the seam.
    said = processor.tokenizer(answer + END, add_special_tokens=False, return_tensors="pt")["input_ids"]
    ids = torch.cat([asked["input_ids"], said], dim=1)
    labels = torch.cat([torch.full_like(asked["input_ids"], -100), said], dim=1)
    pixels = asked["pixel_values"]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels, "pixel_values": pixels}


def _picture(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def answer(progress: Sequence[float], success: float, reason: str) -> str:
    return json.dumps({"reason": reason, "progress": list(progress), "success": success})
