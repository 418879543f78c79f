"""The model of client/models/llama.h in PyTorch, and its training step's median time.

Prints one JSON object: {"median_s": ..., "losses": [...]}. The peer of `benchmarks/run.sh llm_vs_torch`: same shapes, same
weights (a safetensors file that the C++ example saved), same batches (a file of token ids), same optimizer, same threads.
The loss is read after every step, as the C++ side does.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn


class RMSNorm(nn.Module):
    def __init__(self, size, eps=1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rotary(x, cos, sin):
    """Halves convention, x: [batch, heads, sequence, head size]."""
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), dim=-1)


class Attention(nn.Module):
    def __init__(self, hidden, heads, kv_heads):
        super().__init__()
        self.heads, self.kv_heads, self.size = heads, kv_heads, hidden // heads
        self.q = nn.Linear(hidden, heads * self.size, bias=False)
        self.k = nn.Linear(hidden, kv_heads * self.size, bias=False)
        self.v = nn.Linear(hidden, kv_heads * self.size, bias=False)
        self.o = nn.Linear(hidden, hidden, bias=False)

    def forward(self, x, cos, sin):
        batch, sequence, hidden = x.shape
        q = self.q(x).view(batch, sequence, self.heads, self.size).transpose(1, 2)
        k = self.k(x).view(batch, sequence, self.kv_heads, self.size).transpose(1, 2)
        v = self.v(x).view(batch, sequence, self.kv_heads, self.size).transpose(1, 2)
        q, k = rotary(q, cos, sin), rotary(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o(y.transpose(1, 2).reshape(batch, sequence, hidden))


class Block(nn.Module):
    def __init__(self, hidden, ffn, heads, kv_heads):
        super().__init__()
        self.attention_norm = RMSNorm(hidden)
        self.attention = Attention(hidden, heads, kv_heads)
        self.ffn_norm = RMSNorm(hidden)
        self.gate = nn.Linear(hidden, ffn, bias=False)
        self.up = nn.Linear(hidden, ffn, bias=False)
        self.down = nn.Linear(ffn, hidden, bias=False)

    def forward(self, x, cos, sin):
        x = x + self.attention(self.attention_norm(x), cos, sin)
        h = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self, vocab, hidden, ffn, layers, heads, kv_heads, sequence, theta=10000.0):
        super().__init__()
        self.embedding = nn.Embedding(vocab, hidden)
        self.blocks = nn.ModuleList(Block(hidden, ffn, heads, kv_heads) for _ in range(layers))
        self.norm = RMSNorm(hidden)
        self.head = nn.Linear(hidden, vocab, bias=False)
        size = hidden // heads
        frequencies = theta ** (-torch.arange(0, size, 2).float() / size)
        angles = torch.arange(sequence).float()[:, None] * frequencies[None, :]
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.cos.to(x.dtype), self.sin.to(x.dtype))
        return self.head(self.norm(x))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=["eager", "compile", "eager_bf16"], default="eager")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--sequence", type=int, default=256)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--ffn", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--kv_heads", type=int, default=2)
    parser.add_argument("--vocab", type=int, default=8192)
    parser.add_argument("--learning_rate", type=float, default=3e-4)
    parser.add_argument("--weights", help="safetensors file with the initial weights")
    parser.add_argument("--tokens", help="int32 ids, [steps, batch, sequence + 1]; random without it")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = Llama(args.vocab, args.hidden, args.ffn, args.layers, args.heads, args.kv_heads, args.sequence)
    if args.weights:
        model.load_state_dict(load_file(args.weights))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.learning_rate, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1
    )
    total = args.warmup + args.steps
    shape = (total, args.batch, args.sequence + 1)
    if args.tokens:
        with open(args.tokens, "rb") as file:
            data = bytearray(file.read(4 * shape[0] * shape[1] * shape[2]))
        tokens = torch.frombuffer(data, dtype=torch.int32).view(shape).long()
    else:
        tokens = torch.randint(args.vocab, shape)

    def loss_of(batch):
        logits = model(batch[:, :-1])
        return F.cross_entropy(logits.reshape(-1, args.vocab).float(), batch[:, 1:].reshape(-1))

    if args.mode == "compile":
        loss_of = torch.compile(loss_of)

    times, losses = [], []
    for step in range(total):
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.mode == "eager_bf16"):
            loss = loss_of(tokens[step])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step >= args.warmup:
            times.append(time.perf_counter() - begin)
    print(json.dumps({"median_s": statistics.median(times), "losses": losses}))


if __name__ == "__main__":
    main()
