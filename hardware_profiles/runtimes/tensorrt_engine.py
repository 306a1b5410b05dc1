"""A loaded TensorRT engine: what it takes and gives, its answers to samples, its timers."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hardware_profiles.profile_device import Timer
from hardware_profiles.runtimes.tensorrt_build import Shape
from hardware_profiles.runtimes.torch_cuda import captured, launched
from hardware_profiles.runtimes.torch_network import random_inputs
from search_spaces import InputError, TensorSpec

DTYPES = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "BF16": torch.bfloat16,
    "INT64": torch.int64,
    "INT32": torch.int32,
    "INT8": torch.int8,
    "UINT8": torch.uint8,
    "BOOL": torch.bool,
}
"""Types of inputs and outputs by TensorRT's name of them."""

Array = npt.NDArray[Any]


def deserialize(runtime: Any, plan: bytes, *, host_code: bool = False) -> Any:
    """Return TensorRT's engine, or None where it refuses the plan.

    Args:
        host_code: let it run code that a version-compatible plan carries, which only a plan that
            can be trusted may.
    """
    runtime.engine_host_code_allowed = host_code
    return runtime.deserialize_cuda_engine(plan)


class Engine:
    """An engine on a GPU, which runs one thing at a time.

    Args:
        trt: the library.
        log: an `error_log`, that the engine's runtime was made with.
        engine: what `deserialize` returned.
        device: torch's GPU that it was loaded on.

    Raises:
        InputError: it takes or gives a type that torch has not.
    """

    def __init__(self, trt: Any, log: Any, engine: Any, device: torch.device) -> None:
        self._log, self._device = log, device
        self._context = engine.create_execution_context()
        if self._context is None:
            raise InputError(f"TensorRT has no room for this engine: {log.last()}")
        self._engine = engine  # which the context needs
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        self._dtypes = {name: _dtype(name, engine.get_tensor_dtype(name)) for name in names}
        given = trt.TensorIOMode.INPUT
        self.inputs = {
            name: tuple(engine.get_tensor_shape(name))
            for name in names
            if engine.get_tensor_mode(name) == given
        }
        """Shapes by name; a free batch is -1."""
        self.outputs = tuple(name for name in names if name not in self.inputs)

    def bind(self, shapes: Mapping[str, Shape]) -> dict[str, Tensor]:
        """Make inputs (standard normal; zeros and ones where integers are taken) and room for
        outputs, by name. The engine uses them as long as nothing else is bound.

        Args:
            shapes: of all inputs.

        Raises:
            InputError: shapes that the engine was not built for.
        """
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                raise InputError(f"this engine does not take {name!r} {shape}: {self._log.last()}")
        missing = self._context.infer_shapes()
        assert not missing, f"shapes of {missing} do not follow from the inputs"
        tensors = {name: self._random(name, shapes[name]) for name in self.inputs}
        for name in self.outputs:
            shape = tuple(self._context.get_tensor_shape(name))
            tensors[name] = torch.empty(shape, dtype=self._dtypes[name], device=self._device)
        for name, tensor in tensors.items():
            self._context.set_tensor_address(name, tensor.data_ptr())
        return tensors

    def enqueue(self) -> None:
        """Put one run of what is bound on torch's current stream.

        Raises:
            InputError: TensorRT refuses.
        """
        if not self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise InputError(f"TensorRT does not run this network: {self._log.last()}")

    def run(self, samples: Mapping[str, Array], batch_size: int) -> dict[str, Array]:
        """Run n samples, arrays by name, in batches; return the outputs by name, each n x ...

        The last batch is filled up with the last sample. bf16 is returned as fp32.

        Raises:
            InputError: other inputs, or a batch that the engine was not built for.
        """
        if sorted(samples) != sorted(self.inputs):
            raise InputError(
                f"expected samples of {sorted(self.inputs)}, got those of {sorted(samples)}"
            )
        n = len(next(iter(samples.values())))
        found: dict[str, list[Array]] = {name: [] for name in self.outputs}
        cuda: Any = torch.cuda  # whose classes are not typed
        stream = cuda.Stream(self._device)
        with torch.cuda.device(self._device), torch.cuda.stream(stream):
            for start in range(0, n, batch_size):
                rows = np.minimum(np.arange(start, start + batch_size), n - 1)
                batch = {name: one[rows] for name, one in samples.items()}
                tensors = self.bind({name: one.shape for name, one in batch.items()})
                for name, one in batch.items():
                    tensors[name].copy_(torch.from_numpy(one))
                self.enqueue()
                stream.synchronize()
                for name in self.outputs:
                    found[name].append(_array(tensors[name]))
        return {name: np.concatenate(parts)[:n] for name, parts in found.items()}

    @contextmanager
    def timer(self, shapes: Mapping[str, Shape], *, graph: bool = True) -> Iterator[Timer]:
        """Bind random inputs and time runs: a captured CUDA graph, or launches one by one.

        Raises:
            InputError: shapes that the engine was not built for.
        """
        tensors = self.bind(shapes)
        make: Callable[..., Any] = captured if graph else launched
        with make(self.enqueue, self._device) as timer:
            yield timer
        del tensors  # the engine reads and writes them until here

    def _random(self, name: str, shape: Shape) -> Tensor:
        dtype = self._dtypes[name]
        spec = TensorSpec(shape[1:], "float32" if dtype.is_floating_point else "int64")
        (tensor,) = random_inputs([spec], shape[0], dtype, self._device, torch.contiguous_format)
        return tensor.to(dtype)


def _dtype(name: str, dtype: Any) -> torch.dtype:
    known = DTYPES.get(dtype.name)
    if known is None:
        raise InputError(f"{name!r} is of type {dtype.name}, which torch does not have")
    return known


def _array(tensor: Tensor) -> Array:
    wide = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    return wide.cpu().numpy()
