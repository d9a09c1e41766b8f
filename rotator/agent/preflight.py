"""What would undo the work, and how to mend it: findings in plain words, without any cookie. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rotator.agent.boot_files import BootFormat
from rotator.agent.files import oddities

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rotator.agent.decide import Boot
    from rotator.agent.node import About
    from rotator.agent.settings import NodeSettings
    from rotator.domain.cookie import Cookie

#: Variables out of which start scripts make ``-setcookie``.
COOKIE_VARIABLES: Final = ("RELEASE_COOKIE", "RABBITMQ_ERLANG_COOKIE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the agent looked up about a node besides its cookies."""

    about: About
    environment: Mapping[str, Cookie] = field(default_factory=dict)  #: of COOKIE_VARIABLES
    hides_arguments: bool = False  #: /proc shows a process to its own user alone
    began_after_boot_file: bool = False  #: the boot file lay there before the VM began


def findings(
    node: NodeSettings, found: Surroundings, *, boot: Boot | None, ours: frozenset[Cookie]
) -> tuple[str, ...]:
    """Everything that stands in the way; *ours* are the versions served just now."""
    return (
        *_of_the_vm(node, found.about),
        *_of_arguments(node, found, boot=boot),
        *_of_the_environment(found, ours=ours),
        *oddities(node.files.cookie_file),
    )


def _of_the_vm(node: NodeSettings, about: About) -> Iterator[str]:
    if about.name != node.name:
        yield f"the node calls itself {about.name}: name it so in agent.yaml"
    if not about.has_pins:
        yield f"OTP {about.otp_release} is older than 25: a boot file with pins may not be read"


def _of_arguments(node: NodeSettings, found: Surroundings, *, boot: Boot | None) -> Iterator[str]:
    given = [values for flag, values in found.about.arguments if flag == "setcookie"]
    own = [values for values in given if len(values) == 1]
    pins = [values for values in given if len(values) > 1]
    if own:
        yield (
            "the VM has its cookie in its arguments (-setcookie): a restart brings that one back;"
            " take it out of vm.args or the start script, the cookie file is enough"
        )
    if len(own) > 1:
        yield "two -setcookie arguments: OTP then takes the cookie file, or a random cookie"
    if given and not (found.hides_arguments or node.own_pid_namespace):
        yield (
            "every user of this host can read the cookies in the VM's arguments: mount /proc with"
            " hidepid=2, or give the node a PID namespace of its own"
        )
    reads_arguments = node.files.boot_format is not BootFormat.ELIXIR
    if reads_arguments and not pins and found.began_after_boot_file and boot and boot.pins:
        yield (
            f"the VM did not start with {node.files.boot_file}: a restart among mixed cookies would"
            " come up out of step (deploy/recipes says how to name it)"
        )


def _of_the_environment(found: Surroundings, *, ours: frozenset[Cookie]) -> Iterator[str]:
    for name, cookie in found.environment.items():
        if cookie in ours:
            yield (
                f"{name} in the VM's environment is a real cookie: a restart brings it back, and it"
                " ends up in the arguments; set it to a decoy (deploy/recipes)"
            )
