# SPDX-License-Identifier: Apache-2.0
"""fastcnn and its peers, each with its own file format, its own layout and its best settings.

`convert` writes the engine's file of a case, in a process that ends before anything is timed. A
task makes a step from it: a function without arguments that runs the batch and returns the logits
(N, classes), or in training the loss (1,) before the update. Images are laid out as the engine
likes them before the step is timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np

from .cases import NETWORKS, PREDICT, TRAIN, Case, Files

# Of SGD: so small that the loss stays finite however often the same batch comes.
RATE, MOMENTUM = 1e-4, 0.9

Step = Callable[[], np.ndarray]
Facts = dict[str, Any]


@final
@dataclass(frozen=True)
class Engine:
    """One library with one choice of settings.

    Attributes:
        title: at the head of its column.
        package: what pip calls it.
        settings: in words, for the report.
        tasks: by name of a task, what makes its step from (case, files, threads).
        convert: writes the engine's own files and returns facts for the report.
        environment: variables of its process, beside those that all engines have.
    """

    title: str
    package: str
    settings: str
    tasks: Mapping[str, Callable[[Case, Files, int], Step]]
    convert: Callable[[Case, Files], Facts] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


# --- fastcnn -------------------------------------------------------------------------------------


def convert_fastcnn(case: Case, files: Files) -> Facts:
    from safetensors.numpy import load_file

    from fastcnn import applications

    known = NETWORKS.get(case.network)
    name, arguments = (known and known.ours) or (case.network, {})
    model = applications.get(name)(classifier_activation=None, **arguments)
    model.load_state_dict(load_file(files.weights))
    model.save(files.of("fastcnn"))
    return {"macs": model.count_macs()}


def predict_fastcnn(case: Case, files: Files, threads: int) -> Step:
    import fastcnn

    fastcnn.set_num_threads(threads)
    model = fastcnn.models.load_model(files.of("fastcnn"))
    images = np.load(files.images)
    return lambda: model.predict_on_batch(images)


def train_fastcnn(recompute: str | None = None) -> Callable[[Case, Files, int], Step]:
    """What makes a training step, with `recompute` as `compile` takes it."""

    def make(case: Case, files: Files, threads: int) -> Step:
        import fastcnn

        fastcnn.set_num_threads(threads)
        model = fastcnn.models.load_model(files.of("fastcnn"))
        for layer in model.layers:
            if isinstance(layer, fastcnn.layers.Dropout):
                layer.rate = 0.0
        loss = fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True)
        optimizer = fastcnn.optimizers.SGD(RATE, momentum=MOMENTUM)
        model.compile(optimizer, loss, recompute=recompute)
        images, labels = np.load(files.images), np.load(files.labels)

        def step() -> np.ndarray:
            return np.reshape(model.train_on_batch(images, labels), 1)

        return step

    return make


# --- PyTorch -------------------------------------------------------------------------------------


def predict_torch(layout: str, compiled: bool = False) -> Callable[[Case, Files, int], Step]:
    """What makes the step of PyTorch with `layout` the name of one of its memory formats."""

    def make(case: Case, files: Files, threads: int) -> Step:
        import torch

        from . import source

        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        memory_format = getattr(torch, layout)
        images = source.channels_first(np.load(files.images)).to(memory_format=memory_format)
        module = source.load(case, files).to(memory_format=memory_format)
        if compiled:
            import torch._inductor.config as inductor

            inductor.freezing = True
            inductor.compile_threads = 1  # else it leaves processes behind that wait for work
            module = torch.compile(module, dynamic=False)

        def step() -> np.ndarray:
            with torch.inference_mode():
                return module(images).numpy()

        return step

    return make


def train_torch(layout: str, compiled: bool = False) -> Callable[[Case, Files, int], Step]:
    """What makes a training step of PyTorch with `layout` the name of a memory format."""

    def make(case: Case, files: Files, threads: int) -> Step:
        import torch

        from . import source

        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        memory_format = getattr(torch, layout)
        images = source.channels_first(np.load(files.images)).to(memory_format=memory_format)
        labels = torch.from_numpy(np.load(files.labels))
        module = source.load(case, files).to(memory_format=memory_format)
        source.prepare_training(module)
        optimizer = torch.optim.SGD(module.parameters(), RATE, momentum=MOMENTUM, fused=True)
        run = module
        if compiled:
            import torch._inductor.config as inductor

            inductor.compile_threads = 1
            run = torch.compile(module, dynamic=False)

        def step() -> np.ndarray:
            optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.cross_entropy(run(images), labels)
            loss.backward()
            optimizer.step()
            return loss.detach().numpy().reshape(1)

        return step

    return make


def with_big_pages(engine: Engine) -> Engine:
    """PyTorch's training where the C library keeps freed memory and asks for big pages.

    By default it gives every large tensor back, and each step pays for page faults again.
    """
    settings = "hugetlb=1", "mmap_threshold=4294967296", "trim_threshold=8589934592"
    return replace(
        engine,
        title=f"{engine.title}, big pages",
        settings=f"{engine.settings}; malloc with big pages that are never given back",
        tasks={TRAIN: engine.tasks[TRAIN]},
        environment={"GLIBC_TUNABLES": ":".join(f"glibc.malloc.{s}" for s in settings)},
    )


# --- readers of ONNX -----------------------------------------------------------------------------


def convert_onnx(case: Case, files: Files) -> Facts:
    from . import source

    source.write_onnx(case, files)
    return {}


def channels_first(files: Files) -> np.ndarray:
    return np.ascontiguousarray(np.load(files.images).transpose(0, 3, 1, 2))


def predict_onnxruntime(case: Case, files: Files, threads: int) -> Step:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    session = onnxruntime.InferenceSession(
        str(files.of("onnx")), options, providers=["CPUExecutionProvider"]
    )
    feed = {"images": channels_first(files)}
    return lambda: session.run(None, feed)[0]


def predict_openvino(case: Case, files: Files, threads: int) -> Step:
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # it takes bfloat16 where the processor has it, else
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "CPU_DENORMALS_OPTIMIZATION": True,
    }
    compiled = openvino.Core().compile_model(str(files.of("onnx")), "CPU", settings)
    request = compiled.create_infer_request()
    images = openvino.Tensor(channels_first(files))  # a copy that the tensor owns
    request.set_input_tensor(images)

    def step() -> np.ndarray:
        request.infer(share_outputs=True)
        return request.get_output_tensor().data

    return step


# --- ncnn ----------------------------------------------------------------------------------------


def convert_ncnn(case: Case, files: Files) -> Facts:
    import pnnx

    from . import source

    one = source.channels_first(np.load(files.images)[:1])
    path = str(files.of("pt"))
    pnnx.export(source.load(case, files), path, (one,), check_trace=False, fp16=False)
    if not files.of("ncnn.bin").exists():
        raise RuntimeError("pnnx could not convert the network")
    return {}


def predict_ncnn(case: Case, files: Files, threads: int) -> Step:
    """ncnn knows no batches: images in turn on all threads, or one a thread, what is faster."""
    ways = [(threads, 1)]
    if case.batch > 1 and threads > 1:
        ways.append((1, threads))
    return min((step_of_ncnn(files, *way) for way in ways), key=best_of_three)


def step_of_ncnn(files: Files, threads: int, at_once: int) -> Step:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    for half in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{half}", False)
    net.load_param(str(files.of("ncnn.param")))
    net.load_model(str(files.of("ncnn.bin")))
    (first,), (last,) = net.input_names(), net.output_names()
    images = [ncnn.Mat(image).clone() for image in channels_first(files)]

    def one(image: Any) -> np.ndarray:
        with net.create_extractor() as extractor:
            extractor.input(first, image)
            return np.array(extractor.extract(last)[1])

    if at_once == 1:
        return lambda: np.stack([one(image) for image in images])
    pool = ThreadPoolExecutor(at_once)
    return lambda: np.stack(list(pool.map(one, images)))


def best_of_three(step: Step) -> float:
    """Least seconds of three runs, after one that does not count."""
    seconds = []
    for _ in range(4):
        begin = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])


# --- all of them ---------------------------------------------------------------------------------

OURS = "fastcnn"
_TORCH = "inference_mode, denormals flushed; training with SGD(fused=True)"

ENGINES = {
    OURS: Engine(
        "fastcnn",
        "fastcnn",
        "load_state_dict, save, load_model, predict_on_batch or train_on_batch",
        {PREDICT: predict_fastcnn, TRAIN: train_fastcnn()},
        convert_fastcnn,
    ),
    "fastcnn-recompute": Engine(
        "fastcnn, recompute",
        "fastcnn",
        'as fastcnn, with compile(recompute="auto"); not among the peers',
        {TRAIN: train_fastcnn("auto")},
        convert_fastcnn,
    ),
    "torch": Engine(
        "torch NCHW",
        "torch",
        f"eager, {_TORCH}",
        {PREDICT: predict_torch("contiguous_format"), TRAIN: train_torch("contiguous_format")},
    ),
    "torch-nhwc": Engine(
        "torch NHWC",
        "torch",
        f"eager, channels_last, {_TORCH}",
        {PREDICT: predict_torch("channels_last"), TRAIN: train_torch("channels_last")},
    ),
    "torch-compile": Engine(
        "torch compiled",
        "torch",
        f"torch.compile with freezing, channels_last, {_TORCH}",
        {
            PREDICT: predict_torch("channels_last", compiled=True),
            TRAIN: train_torch("channels_last", compiled=True),
        },
    ),
    "ort": Engine(
        "ONNX Runtime",
        "onnxruntime",
        "all optimizations, sequential, threads spin, denormals flushed",
        {PREDICT: predict_onnxruntime},
        convert_onnx,
    ),
    "openvino": Engine(
        "OpenVINO",
        "openvino",
        "f32, LATENCY, denormals flushed",
        {PREDICT: predict_openvino},
        convert_onnx,
    ),
    "ncnn": Engine(
        "ncnn",
        "ncnn",
        "by pnnx from TorchScript, float32 storage; batches as single images, in turn on all "
        "threads or one a thread, what is faster",
        {PREDICT: predict_ncnn},
        convert_ncnn,
    ),
}
ENGINES |= {
    f"{name}-pages": with_big_pages(engine)
    for name, engine in ENGINES.items()
    if engine.package == "torch"
}


def is_peer(name: str) -> bool:
    """Whether an engine is somebody else's."""
    return name not in ENGINES or ENGINES[name].package != OURS
