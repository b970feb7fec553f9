"""moto's server, with a Secrets Manager that calls rotation functions as AWS does.

It takes the arguments of `moto_server`. Rotation functions are called at `INVOCATIONS_URL`, by Lambda's
Invoke API; a function that fails breaks its rotation off. What differs from moto beside that:

- the steps name the secret by its ARN and carry a RotationToken;
- RotateSecret goes on with a pending version, and says so, as AWS does; a pending stage on the current
  version is the end of a rotation, which moto takes for one that is under way;
- a pending version that has a value takes no other one;
- a change of stages is a change of the secret (LastChangedDate), times have fractions of a second, and what
  is read without a stage is the current version;
- an access key that is inactive is none (with `INITIAL_NO_AUTH_ACTION_COUNT`, moto's switch for
  authentication).
"""

import json
import os
import threading
import time
import urllib.error
import urllib.request
import uuid

import moto.awslambda.utils
from moto.iam import access_control
from moto.secretsmanager import models
from moto.secretsmanager.exceptions import InvalidRequestException
from moto.server import main

Backend = models.SecretsManagerBackend
STEPS = ["createSecret", "setSecret", "testSecret", "finishSecret"]

# moto is not made for several callers at once. It is held by one call at a time, not while a function runs.
LOCK = threading.RLock()


def invoke(secret, step, token):
    event = {
        "Step": step,
        "SecretId": secret.arn,
        "ClientRequestToken": token,
        "RotationToken": str(uuid.uuid4()),
    }
    url = f"{os.environ['INVOCATIONS_URL']}/2015-03-31/functions/rotation/invocations"
    request = urllib.request.Request(url, json.dumps(event).encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            failed = answer.headers.get("x-amz-function-error")
    except (urllib.error.URLError, OSError):
        failed = "Unhandled"
    if failed:
        raise InvalidRequestException(f"the rotation function failed in {step}")


def run(secret, token, steps):
    for step in steps:
        invoke(secret, step, token)
    secret.last_rotation_date = int(time.time())


class Functions:
    """What moto asks of its Lambda service when a rotation begins; the steps are called below."""

    def get_function(self, name):
        return None

    def invoke(self, *_args, **_kwargs):
        return b""


def pending(secret):
    """The version of the rotation under way."""
    for token, version in secret.versions.items():
        if "AWSPENDING" in version["version_stages"]:
            if "AWSCURRENT" not in version["version_stages"]:
                return token
            version["version_stages"].remove("AWSPENDING")
    return None


rotate_secret = Backend.rotate_secret
put_secret_value = Backend.put_secret_value
update_secret_version_stage = Backend.update_secret_version_stage


def rotate(self, secret_id, *args, rotate_immediately=True, **kwargs):
    with LOCK:
        secret = self.secrets.get(secret_id)
        token = secret and pending(secret)
        if not token:
            current = secret.default_version_id if secret else None
            before = set(secret.versions) if secret else set()
            answer = rotate_secret(self, secret_id, *args, rotate_immediately=rotate_immediately, **kwargs)
            secret.set_default_version_id(current)
            new = next(iter(set(secret.versions) - before))
            if not rotate_immediately:
                # AWS registers it without a value.
                secret.versions[new].pop("secret_string", None)
    if token:
        run(secret, token, STEPS)
        raise InvalidRequestException(
            "A previous rotation isn't complete. That rotation will be reattempted."
        )
    if rotate_immediately:
        run(secret, new, STEPS)
        return answer
    try:
        run(secret, new, ["testSecret"])
    finally:
        secret.versions.pop(new)
    return answer


def put(self, secret_id, secret_string, secret_binary, client_request_token, version_stages):
    with LOCK:
        secret = self.secrets.get(secret_id)
        there = secret and secret.versions.get(client_request_token)
        if there and there.get("secret_string", secret_string) != secret_string:
            told = "You can't use this ClientRequestToken because that value is already in use"
            raise models.ResourceExistsException(told)
        if there and "secret_string" in there:
            return secret.to_short_dict(include_version_stages=True, version_id=client_request_token)
        answer = put_secret_value(
            self, secret_id, secret_string, secret_binary, client_request_token, version_stages
        )
        self.secrets[secret_id].last_changed_date = time.time()
        return answer


def update_stage(self, secret_id, version_stage, remove_from_version_id, move_to_version_id):
    with LOCK:
        answer = update_secret_version_stage(
            self, secret_id, version_stage, remove_from_version_id, move_to_version_id
        )
        secret = self.secrets[secret_id]
        secret.last_changed_date = time.time()
        if version_stage == "AWSCURRENT" and move_to_version_id:
            secret.set_default_version_id(move_to_version_id)
        return answer


create_access_key = access_control.create_access_key


def active_access_key(account_id, partition, access_key_id, headers):
    key = create_access_key(account_id, partition, access_key_id, headers)
    users = access_control.iam_backends[account_id][partition].users.values()
    for known in (known for user in users for known in user.access_keys):
        if known.access_key_id == access_key_id and known.status != "Active":
            raise access_control.CreateAccessKeyFailure(reason="InvalidId")
    return key


Backend.rotate_secret = rotate
Backend.put_secret_value = put
Backend.update_secret_version_stage = update_stage
access_control.create_access_key = active_access_key
moto.awslambda.utils.get_backend = lambda *_: Functions()

if __name__ == "__main__":
    main()
