"""A bundle's variant as a TensorRT engine ready to run: from the cache, or built now.

Knows the order: look, load, else build, keep, load. At most one build for each graph, whatever the cache holds. Does
not know the builder, the folder's layout, nor whether the engine judges right (selfcheck.py).
"""

import hashlib
import time
from dataclasses import dataclass
from typing import Any, Literal

from diffad_runtime.bundle import Bundle
from diffad_runtime.cuda.gpu import Gpu, open_gpu
from diffad_runtime.enginecache.key import About, DeviceFacts, EngineKey
from diffad_runtime.enginecache.location import cache_folder
from diffad_runtime.enginecache.ranking import find_ranking
from diffad_runtime.enginecache.store import EngineStore, open_store
from diffad_runtime.engines.ondevice import OnDevice
from diffad_runtime.engines.tensorrt import TensorRtEngine
from diffad_runtime.errors import EngineError, InputError
from diffad_runtime.jetson import l4t_release
from diffad_runtime.tensorrt.building import BuildOptions, build_plan, workspace_bytes
from diffad_runtime.tensorrt.library import load_tensorrt, version_of
from diffad_runtime.tensorrt.network import Network, PlanRefusedError

_STEPS = 100


@dataclass(frozen=True, slots=True)
class Loaded:
    """How a network was come by.

    Attributes:
        name: as in "reconstructor.fp16".
        plan_bytes: size of its plan.
        build_s: seconds that building took; None where it came from the cache.
        lost: why it could not be kept in the cache, else "".
    """

    name: str
    plan_bytes: int
    build_s: float | None
    lost: str


@dataclass(frozen=True, slots=True)
class Opened:
    """An engine ready to run, and how its two networks were come by. Whoever has it closes the engine."""

    engine: TensorRtEngine
    loaded: tuple[Loaded, ...]


def open_tensorrt(bundle: Bundle, variant: str, device: OnDevice) -> Opened:
    """Load both engines of a variant, building what is not in the cache.

    Raises:
        EngineError: TensorRT or a GPU is missing, a graph is refused, memory does not suffice, or what was just built
            cannot be loaded.
        MissingExtraError: pycuda is missing.
        InputError: no folder for engines can be used; options out of range.
        KeyboardInterrupt: the watcher cancelled.
    """
    trt = load_tensorrt()
    gpu = open_gpu()
    options = BuildOptions(
        optimisation_level=device.optimisation_level,
        workspace_mb=device.workspace_mb,
        # FP32 is what all else falls back to, so it is computed as torch did: rounded to TF32 it would be no better
        # than FP16.
        tf32=bundle.variant(variant).precision != "fp32",
    )
    store = open_store(device.cache, device.watcher.warn)
    facts = device_facts(trt, gpu)

    def graph_of(graph: _Which, onnx: bytes) -> _Graph:
        return _Graph(trt, gpu, store, options, device, *_named(facts, bundle, variant, graph, onnx, options))

    loaded: list[tuple[Network, Loaded]] = []
    try:
        with gpu.current():
            try:
                for graph, onnx in zip(_GRAPHS, bundle.graphs(variant), strict=True):
                    loaded.append(graph_of(graph, onnx).load(onnx))
            except BaseException:
                for network, _ in loaded:
                    network.close()
                raise
            extractor, reconstructor = (network for network, _ in loaded)
            engine = TensorRtEngine(
                trt,
                gpu,
                extractor,
                reconstructor,
                input_size=bundle.manifest.input_size,
                variant=variant,
                note=device.watcher.note,
            )
            return Opened(engine, tuple(how for _, how in loaded))
    except gpu.cuda.Error as error:
        fault = gpu.failed("prepare the engines", error)
    # Raised out here it holds on to no frame of the work: whoever keeps it keeps nothing on the GPU.
    try:
        raise fault
    finally:
        del fault  # it holds on to this frame, and this frame must not to it


def measured_order(bundle: Bundle, device: OnDevice) -> list[str]:
    """Variants of the bundle by what `build --fastest` measured here, the fastest first; [] where it did not.

    Raises:
        EngineError, MissingExtraError: TensorRT, pycuda or a GPU is missing.
    """
    found = find_ranking(device.cache or cache_folder(), bundle.digest, device_facts(load_tensorrt(), open_gpu()))
    return [] if found is None else list(found.p50_ms)


_Which = Literal["extractor", "reconstructor"]
_GRAPHS: tuple[_Which, _Which] = ("extractor", "reconstructor")


def device_facts(trt: Any, gpu: Gpu) -> DeviceFacts:
    """What engines of this device are known by."""
    return DeviceFacts(
        tensorrt=version_of(trt),
        cuda=gpu.facts.cuda,
        compute_capability=gpu.facts.compute_capability,
        multiprocessors=gpu.facts.multiprocessors,
        gpu=gpu.facts.name,
        l4t=l4t_release(),
    )


def _named(
    facts: DeviceFacts, bundle: Bundle, variant: str, graph: _Which, onnx: bytes, options: BuildOptions
) -> tuple[EngineKey, About]:
    key = EngineKey(
        onnx_sha256=hashlib.sha256(onnx).hexdigest(),
        device=facts,
        tf32=options.tf32,
        optimisation_level=options.optimisation_level,
        workspace_mb=options.workspace_mb,
    )
    about = About(
        graph=graph,
        variant=variant,
        model_id=bundle.manifest.model_id,
        model_version=bundle.manifest.version,
        bundle_digest=bundle.digest,
        seconds=0.0,
    )
    return key, about


@dataclass(frozen=True, slots=True)
class _Graph:
    """One graph on its way to a network."""

    trt: Any
    gpu: Gpu
    store: EngineStore
    options: BuildOptions
    device: OnDevice
    key: EngineKey
    about: About

    @property
    def _name(self) -> str:
        return f"{self.about.graph}.{self.about.variant}"

    def load(self, onnx: bytes) -> tuple[Network, Loaded]:
        watcher = self.device.watcher
        loaded, why = (None, "") if self.device.rebuild else self._from_cache()
        if loaded is not None:
            return loaded
        if why:
            watcher.warn(f"the engine {self._name} in the cache cannot be used, it is built anew: {why}")
        waited = False

        def wait() -> None:
            nonlocal waited
            waited = True
            watcher.note("another process is building engines, waiting for it")

        with self.store.building(wait, watcher.cancelled):
            if waited:  # for this very engine, perhaps
                loaded, _ = self._from_cache()
            return loaded or self._built(onnx)

    def _from_cache(self) -> tuple[tuple[Network, Loaded] | None, str]:
        plan, why = self.store.find(self.key, self.about)
        if plan is None:
            return None, why
        try:
            return (Network(self.trt, plan, self._name), Loaded(self._name, len(plan), None, "")), ""
        except PlanRefusedError as error:
            self.store.refuse(self.key, self.about)
            return None, str(error)

    def _built(self, onnx: bytes) -> tuple[Network, Loaded]:
        watcher, start = self.device.watcher, time.monotonic()
        what = f"building the engine {self._name}"
        watcher.progress(what, 0, _STEPS)
        free = self.gpu.free_bytes()
        asked, given = self.options.workspace_mb, workspace_bytes(self.options, free) >> 20
        if asked is not None and given < asked:
            watcher.warn(f"{self._name}: {free >> 20} MiB are free, so the workspace is {given} MiB and not {asked}")
        built = build_plan(
            self.trt,
            onnx,
            self._name,
            self.options,
            free_bytes=free,
            timings=self.store.timings(self.key.device),
            on_progress=lambda fraction: watcher.progress(what, round(_STEPS * fraction), _STEPS),
            cancelled=watcher.cancelled,
        )
        self.store.keep_timings(self.key.device, built.timings)
        seconds = round(time.monotonic() - start, 3)
        try:
            network = Network(self.trt, built.plan, self._name)
        except PlanRefusedError as error:
            # Not again: what came of one build comes of the next.
            raise EngineError(
                f"{self._name}: the engine that was just built cannot be loaded: {error}",
                mend="Check the machine with 'diffad-edge doctor --backend tensorrt', or run another --variant",
            ) from error
        except EngineError:  # no memory to run it in, now
            self._keep(built.plan, seconds)
            raise
        return network, Loaded(self._name, len(built.plan), seconds, self._keep(built.plan, seconds))

    def _keep(self, plan: bytes, seconds: float) -> str:
        """Why it could not be kept, "" where it was. The engine in memory is as good; what is lost is time."""
        try:
            self.store.keep(self.key, self.about.model_copy(update={"seconds": seconds}), plan)
        except InputError as error:
            watcher = self.device.watcher
            watcher.warn(f"the engine {self._name} could not be kept, the next start builds it again: {error}")
            return str(error)
        return ""
