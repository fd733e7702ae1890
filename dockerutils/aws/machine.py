"""The image and the disk of a new instance: one with NVIDIA GPUs gets an image with the driver."""

from __future__ import annotations

from typing import NamedTuple

from dockerutils.aws.ec2 import Ec2
from dockerutils.aws.session import Call
from dockerutils.core.errors import DockerutilsError

# Public parameters have the current images: Canonical's of a release,
# https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/, and AWS's Deep Learning Base OSS Nvidia
# Driver GPU AMI, https://docs.aws.amazon.com/dlami/latest/devguide/: the driver, docker and NVIDIA's container toolkit.
_UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{}/hvm/ebs-gp3/ami-id"
_NVIDIA = "/aws/service/deeplearning/ami/{}/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
_GPUS = 'InstanceTypes[0].GpuInfo.Gpus[?Manufacturer==`"NVIDIA"`]'
_IS_ARM = 'contains(InstanceTypes[0].ProcessorInfo.SupportedArchitectures,`"arm64"`)'
_PARAMETER = (
    f'{_GPUS}&&({_IS_ARM}&&`"{_NVIDIA.format("arm64")}"`||`"{_NVIDIA.format("x86_64")}"`)'
    f'||({_IS_ARM}&&`"{_UBUNTU.format("arm64")}"`||`"{_UBUNTU.format("amd64")}"`)'
)
# NVIDIA's open kernel modules need Turing or newer; a part of a GPU needs another driver, NVIDIA GRID.
_TOO_OLD = {"K520", "K80", "M60", "V100"}

# GB: the disk, and what is free on it at least.
_DISK, _FREE = 50, 30
_NEEDED = "max(Images[0].BlockDeviceMappings[].Ebs.VolumeSize||[`0`])"


class Gpus(NamedTuple):
    """The NVIDIA GPUs of an instance, such as `1 A10G`, nothing if it has none; whether its image has the driver."""

    what: str = ""
    has_driver: bool = False


class Disk(NamedTuple):
    """The disk of an instance: its image, the name of the device, and the size in GB."""

    image: str
    device: str
    size: int | str


def image(ec2: Ec2, instance_type: str, named: str | None) -> tuple[str, Gpus]:
    """Return the image for an instance type, `named` if the user names one, and the type's GPUs.

    A dry run does not know the GPUs. Raises DockerutilsError for GPUs that AWS's image does not support.
    """
    of = {"InstanceTypes": [instance_type]}
    if ec2.dry_run:
        if named:
            return named, Gpus()
        return _current(ec2, ec2.call("describe-instance-types", of, _PARAMETER, "parameter")), Gpus()
    query = f"[{_PARAMETER},{_GPUS}.[Count,Name,GpuPartitionSize]]"
    parameter, found = ec2.call("describe-instance-types", of, query)
    gpus = Gpus(", ".join(f"{count or 1} {name}" for count, name, _ in found or ()), has_driver=not named)
    if named:
        return named, gpus
    for _, name, part in found or ():
        if name in _TOO_OLD or (part or 1) < 1:
            raise DockerutilsError(
                f"AWS's image with the NVIDIA driver does not support the {name} of {instance_type}; "
                "choose another type (-i), or an image with a driver for it (--ami)"
            )
    return _current(ec2, parameter), gpus


def _current(ec2: Ec2, parameter: str) -> str:
    call = Call("ssm", "get-parameter", {"Name": parameter}, ec2.region, "Parameter.Value")
    return str(ec2.session.call(call, variable="image"))


def disk(ec2: Ec2, image: str, size: int | None) -> Disk:
    """Return the disk for an image, by default with some free space; DockerutilsError if `size` is too small for it."""
    of, device = {"ImageIds": [image]}, "Images[0].RootDeviceName"
    if ec2.dry_run:
        name = ec2.call("describe-images", of, device, "device")
        if size is None:
            ec2.call("describe-images", of, f"max([`{_DISK}`,sum([`{_FREE}`,{_NEEDED}])])", "volume")
        return Disk(image, name, ec2.session.number("volume") if size is None else size)
    name, needed = ec2.call("describe-images", of, f"[{device},{_NEEDED}]")
    if size is not None and size < needed:
        raise DockerutilsError(f"{image} needs a disk of {needed} GB; use -v {needed}, or more")
    return Disk(image, name, max(_DISK, needed + _FREE) if size is None else size)
