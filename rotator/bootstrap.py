"""Put the parts together: settings → adapters → services → API. The only file that knows all."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from rotator import failpoints
from rotator.adapters.derivation import Stretcher, profile
from rotator.adapters.scheduling.apscheduler import Metronome
from rotator.adapters.secret_stores.registry import SecretStores, open_stores
from rotator.adapters.state.store import open_state
from rotator.adapters.state.wakeups import LocalWakeups
from rotator.adapters.telemetry import logging as telemetry
from rotator.api.app import create_app
from rotator.api.limits import DeadlineProtocol
from rotator.api.routes.health import create_health_app
from rotator.errors import ConfigurationError
from rotator.services.attestations import Attestations
from rotator.services.commands import Commands
from rotator.services.crowds import Crowds
from rotator.services.documents import Documents
from rotator.services.executor import Executor
from rotator.services.keyring import KeyRing
from rotator.services.queries import Queries
from rotator.services.reconciler import Reconciler
from rotator.services.tokens import TokenService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.types import ASGIApp

    from rotator.adapters.state.store import State
    from rotator.settings import Settings

log = logging.getLogger(__name__)

_BEAT: Final = timedelta(seconds=1)
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_DRAIN_SECONDS: Final = 5
