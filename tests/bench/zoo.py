"""Survey and prune one timm network of each family: smaller, nothing to prune, refused, slow or raw.

``python tests/bench/zoo.py [NAME ...]``. Each network has random weights, fewer than 30 million parameters
and the smallest of a few image sizes that it takes, and is tried in a process of its own on one core. Half of
the neurons of each group are removed; what is left has to run. Seconds are processor time.
"""

import argparse
import logging
import math
import multiprocessing
import platform
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from typing import NamedTuple

import timm
import torch
from torch import Tensor, nn

from fer.errors import InputError
from fer.neurons import find_prunable, prune

NAMES = [
    *("eca_botnext26ts_256", "mobileone_s1", "cait_xxs24_224", "coat_tiny", "convit_tiny"),
    *("convmixer_768_32", "convnext_atto", "cpubone_nano", "crossvit_tiny_240", "csatv2", "cspdarknet53"),
    *("cspnext_tiny", "davit_tiny", "deit_tiny_patch16_224", "densenet121", "dla46_c", "dpn48b"),
    *("edgenext_xx_small", "efficientformer_l1", "efficientformerv2_s0", "efficientnet_b0"),
    *("efficientvim_m1", "efficientvit_b0", "efficientvit_m0", "vit_tiny_patch16_dinov3_qkvb"),
    *("fasternet_t0", "fastvit_t8", "focalnet_tiny_srf", "gcvit_xxtiny", "ghostnet_050", "hardcorenas_b"),
    *("hgnetv2_b0", "hiera_tiny_224", "sam2_hiera_tiny", "hrnet_w18_small", "iformer_t"),
    *("inception_next_atto", "inception_v3", "lcnetv2_small", "levit_128", "lowformer_b0"),
    *("mambaout_femto", "maxvit_pico_rw_256", "poolformer_s12", "gmixer_12_224", "mobilenetv3_small_100"),
    *("mobilevit_xxs", "mvitv2_tiny", "nest_tiny", "nf_regnet_b0", "pit_ti_224", "pvt_v2_b0"),
    *("rdnet_tiny", "regnety_004", "repghostnet_050", "repvit_m1", "res2net50_14w_8s", "resnest14d"),
    *("ecaresnet26t", "resnetv2_18", "rexnet_100", "selecsls42", "legacy_seresnet18", "sequencer2d_s"),
    *("shvit_s1", "skresnet18", "starnet_s050", "swiftformer_xs", "swin_tiny_patch4_window7_224"),
    *("swinv2_tiny_window8_256", "swinv2_cr_tiny_224", "tiny_vit_5m_224", "tnt_s_legacy_patch16_224"),
    *("tresnet_m", "twins_svt_small", "visformer_tiny", "vit_tiny_patch16_224", "vit_tiny_r_s16_p8_224"),
    *("test_vit_relpos", "vitamin_small_224", "volo_d1_224", "ese_vovnet19b_slim_dw", "legacy_xception"),
    *("xception41p", "xcit_nano_12_p8_224"),
]
NUM_SAMPLES = 64


class Outcome(NamedTuple):
    """What became of a network.

    Attributes:
        kind: smaller, nothing to prune, refused, slow or raw.
        survey: Seconds of one core that the survey of its groups took; NaN if it did not end.
        groups: Number of groups that can be pruned.
        refused: Number of layers whose neurons cannot be removed.
        note: Parameters before and after, or the error.
    """

    kind: str
    survey: float = float("nan")
    groups: int = 0
    refused: int = 0
    note: str = ""


def main() -> None:
    """Try the networks, and print a line for each and a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, help="timm networks; one of each family")
    parser.add_argument("--limit", type=int, default=60, help="seconds after which a network is slow (60)")
    parser.add_argument("--refit", choices=["joint", "sequential"], default="joint")
    given = parser.parse_args()
    outcomes = {}
    for name in given.names:
        outcomes[name] = one = limited(name, given.refit, given.limit)
        sys.stdout.write(
            f"{name:<32} {one.kind:<16} survey {one.survey:5.1f} s, {one.groups:3} groups, {one.refused:3} "
            f"refused; {one.note[:150]}\n"
        )
        sys.stdout.flush()
    counts = Counter(one.kind for one in outcomes.values())
    surveyed = [one.survey for one in outcomes.values() if one.survey == one.survey]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    sys.stdout.write(
        f"n = {len(outcomes)} networks: {', '.join(f'{num} {kind}' for kind, num in counts.items())}\n"
        f"slowest survey {max(surveyed, default=0):.1f} s, {sum(one > 10 for one in surveyed)} above 10 s; "
        f"{platform.machine()}, one core, torch {torch.__version__}, timm {timm.__version__}, "
        f"commit {commit}\n"
    )
    if counts["raw"]:
        sys.exit(1)


def limited(name: str, refit: str, limit: int) -> Outcome:
    """Try a network in a process of its own, which is stopped after some seconds of processor time."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=attempt, args=(theirs, name, refit, limit))
    process.start()
    theirs.close()
    outcome = Outcome("slow", note=f"the survey was stopped after {limit} s")
    while True:
        try:
            outcome = ours.recv()
        except EOFError:
            break
    process.join()
    if process.exitcode not in {0, -signal.SIGXCPU}:
        return outcome._replace(kind="raw", note=f"its process ended with {process.exitcode}")
    return outcome


def attempt(connection: Connection, name: str, refit: str, limit: int) -> None:
    """Survey a network and prune it, and send what became of it so far."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network, images = make(name)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + limit, resource.RLIM_INFINITY))
    begun = time.process_time()
    try:
        found = find_prunable(network, images)
        seconds = time.process_time() - begun
        note = f"pruning was stopped after {limit} s"
        survey = Outcome("slow", seconds, len(found.groups), len(found.refused), note)
        connection.send(survey)
        if not found.groups:
            outcome = survey._replace(kind="nothing to prune", note="")
        else:
            small = prune(network, images.split(16), share_removed=0.5, refit=refit)
            sizes = small.report["parameters"]
            small.network(images[:2])
            note = f"{sizes['before']:,} to {sizes['after']:,} parameters"
            outcome = survey._replace(kind="smaller", note=note)
    except InputError as error:
        outcome = Outcome("refused", time.process_time() - begun, note=str(error))
    except Exception as error:
        outcome = Outcome("raw", time.process_time() - begun, note=f"{type(error).__name__}: {error}")
    connection.send(outcome)


def make(name: str) -> tuple[nn.Module, Tensor]:
    """Return a network with random weights, and noise of the smallest size of a few that it takes."""
    errors = []
    for settings, size in (({"img_size": 64}, 64), ({}, 64), ({}, None)):
        try:
            network = timm.create_model(name, num_classes=7, **settings).eval()
            images = torch.randn(
                NUM_SAMPLES, 3, *(size, size) if size else network.default_cfg["input_size"][1:]
            )
            with torch.no_grad():
                network(images[:2])
        except (AssertionError, RuntimeError, TypeError, ValueError, IndexError) as error:
            errors.append(error)
        else:
            return network, images
    raise errors[-1]


if __name__ == "__main__":
    main()
