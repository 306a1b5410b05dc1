"""ONNX Runtime: its CPU provider, or any provider that the user names."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from hardware_profiles.profile_device import (
    CPU_PROVIDER,
    DeviceError,
    Timer,
    describe_target,
    onnx_opener,
)
from hardware_profiles.runtimes.runtime import RuntimeSettings, Workload
from hardware_profiles.target import Target
from search_spaces import InputError


class OnnxRuntime:
    """Times the ONNX file of a network. A provider's copies to and from its device are included.

    Raises:
        InputError: a precision other than fp32, or a provider that is not installed.
    """

    def __init__(self, settings: RuntimeSettings) -> None:
        provider = settings.provider or CPU_PROVIDER
        if settings.precision != "fp32":
            raise InputError(f"onnxruntime is profiled in fp32, got {settings.precision}")
        self._settings, self._provider = settings, provider
        try:
            described = describe_target(
                settings.threads, settings.batch_size, provider, settings.cores
            )
        except DeviceError as error:
            raise InputError(str(error)) from None
        self.target = Target(**described)

    def open(self, workload: Workload) -> AbstractContextManager[Timer]:
        """Open a session; see `Runtime.open`."""
        return self._opened(workload.onnx())

    @contextmanager
    def _opened(self, model: bytes) -> Iterator[Timer]:
        threads, batch_size = self._settings.threads, self._settings.batch_size
        try:
            with onnx_opener(model, threads, batch_size, self._provider)() as timer:
                yield timer
        except DeviceError as error:
            raise InputError(str(error)) from None
