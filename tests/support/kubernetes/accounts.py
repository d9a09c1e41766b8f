"""Tokens of service accounts, and who may do what (RBAC)."""

from __future__ import annotations

import base64
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.support.kubernetes.kinds import named
from tests.support.kubernetes.store import ACCOUNT, POD, Refused, Store

OWN_AUDIENCE = "https://kubernetes.default.svc.cluster.local"
_EXTRA = "authentication.kubernetes.io/"


@dataclass(frozen=True, slots=True)
class User:
    """Who asks."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: dict[str, list[str]] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """As reviews show it."""
        return {
            "username": self.name, "uid": self.uid, "groups": list(self.groups),
            "extra": self.extra,
        }  # fmt: skip


ADMIN = User("kubernetes-admin", groups=("system:masters", "system:authenticated"))


def _part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


class Accounts:
    """Makes and reviews tokens: JWTs of RS256, as real ones are."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key = rsa.generate_private_key(65537, 2048)
        self.admin_token = secrets.token_urlsafe(32)
        self.reviews = 0  #: that were asked for

    def issue(self, namespace: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        """What a TokenRequest gets."""
        account = self._store.get(ACCOUNT, namespace, name)
        seconds = int(spec.get("expirationSeconds") or 3600)
        if seconds < 600:
            raise Refused(422, "Invalid", "spec.expirationSeconds: may not be less than 10 minutes")
        bound = spec.get("boundObjectRef") or {}
        about: dict[str, Any] = {
            "namespace": namespace,
            "serviceaccount": {"name": name, "uid": account["metadata"]["uid"]},
        }
        if bound.get("kind") == "Pod":
            pod = self._store.get(POD, namespace, bound["name"])
            about["pod"] = {"name": bound["name"], "uid": pod["metadata"]["uid"]}
        token = self.sign(
            audiences=list(spec.get("audiences") or [OWN_AUDIENCE]),
            subject=f"system:serviceaccount:{namespace}:{name}",
            about=about,
            seconds=seconds,
        )
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        return {"token": token, "expirationTimestamp": ends}

    def sign(
        self, *, audiences: list[str], subject: str, about: dict[str, Any], seconds: float
    ) -> str:
        """A token; with negative *seconds* one that has expired."""
        now = time.time()
        claims = {
            "iss": OWN_AUDIENCE, "sub": subject, "aud": audiences, "iat": int(now),
            "nbf": int(min(now, now + seconds)), "exp": int(now + seconds),
            "jti": secrets.token_hex(16), "kubernetes.io": about,
        }  # fmt: skip
        head = _part(json.dumps({"alg": "RS256", "kid": "fake"}).encode())
        text = f"{head}.{_part(json.dumps(claims).encode())}"
        signature = self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{_part(signature)}"

    def user_of(
        self, token: str, audiences: list[str] | None = None
    ) -> tuple[User, list[str]] | None:
        """Who it is, and for which of *audiences*; None for a token that is not good for one of them."""
        if secrets.compare_digest(token.encode(), self.admin_token.encode()):
            return ADMIN, audiences or [OWN_AUDIENCE]
        claims = self._claims(token)
        if claims is None or claims["exp"] <= time.time():
            return None
        both = [one for one in audiences or [OWN_AUDIENCE] if one in claims["aud"]]
        about = claims["kubernetes.io"]
        if not both or not self._is_there(about):
            return None
        return _user(claims["sub"], about, claims["jti"]), both

    def _claims(self, token: str) -> dict[str, Any] | None:
        try:
            text, _, signature = token.rpartition(".")
            raw = base64.urlsafe_b64decode(signature + "==")
            self._key.public_key().verify(raw, text.encode(), padding.PKCS1v15(), hashes.SHA256())
            return dict(json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "==")))
        except Exception:  # noqa: BLE001 - whatever it is, it is no token of ours
            return None

    def _is_there(self, about: dict[str, Any]) -> bool:
        """A token ends with its service account, and with the pod that it is bound to."""
        space, account = about["namespace"], about["serviceaccount"]
        held = [(ACCOUNT, account), *([(POD, about["pod"])] if "pod" in about else [])]
        found = [(self._store.find(kind, space, one["name"]), one["uid"]) for kind, one in held]
        return all(item is not None and item["metadata"]["uid"] == uid for item, uid in found)

    def review(self, spec: dict[str, Any]) -> dict[str, Any]:
        """The status of a TokenReview."""
        self.reviews += 1
        found = self.user_of(str(spec.get("token", "")), list(spec.get("audiences") or []) or None)
        if found is None:
            return {"user": {}, "error": "[invalid bearer token, token lookup failed]"}
        user, audiences = found
        return {"authenticated": True, "user": user.shown(), "audiences": audiences}

    # --- rights -----------------------------------------------------------------------------

    def may(self, user: User, verb: str, group: str, what: str, *, namespace: str = "") -> bool:
        """Whether a role that is bound to the user says so; *what* is `pods` or `pods/eviction`."""
        if "system:masters" in user.groups:
            return True
        rules = [*self._rules(user, ""), *(self._rules(user, namespace) if namespace else [])]
        return any(
            {verb, "*"} & set(rule.get("verbs", []))
            and {group, "*"} & set(rule.get("apiGroups", []))
            and {what, "*"} & set(rule.get("resources", []))
            for rule in rules
        )

    def _rules(self, user: User, namespace: str) -> list[dict[str, Any]]:
        kind = named("RoleBinding" if namespace else "ClusterRoleBinding")
        found = []
        for binding in self._store.list(kind, namespace):
            if any(_is_meant(user, one) for one in binding.get("subjects", [])):
                role = binding["roleRef"]
                space = namespace if role["kind"] == "Role" else ""
                item = self._store.find(named(role["kind"]), space, role["name"])
                found += item.get("rules", []) if item else []
        return found


def _user(subject: str, about: dict[str, Any], token_id: str) -> User:
    extra = {f"{_EXTRA}credential-id": [f"JTI={token_id}"]}
    if "pod" in about:
        extra[f"{_EXTRA}pod-name"] = [about["pod"]["name"]]
        extra[f"{_EXTRA}pod-uid"] = [about["pod"]["uid"]]
    space = about["namespace"]
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{space}", "system:authenticated")
    return User(subject, about["serviceaccount"]["uid"], groups, extra)


def _is_meant(user: User, subject: dict[str, Any]) -> bool:
    if subject["kind"] == "ServiceAccount":
        return user.name == f"system:serviceaccount:{subject['namespace']}:{subject['name']}"
    return subject["name"] in ({user.name} if subject["kind"] == "User" else set(user.groups))
