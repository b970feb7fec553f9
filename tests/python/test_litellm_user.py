"""What a user of LiteLLM's proxy does with keys, with the calls of its documentation."""

import os

import openai
import pytest
import requests

COST = float(os.environ["COST"])


class Proxy:
    def __init__(self, url: str, master: str):
        self.url = url
        self.headers = {"Authorization": f"Bearer {master}"}

    def post(self, path: str, **body):
        answer = requests.post(f"{self.url}{path}", headers=self.headers, json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def get(self, path: str, **params):
        answer = requests.get(f"{self.url}{path}", headers=self.headers, params=params, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def ask(self, key: str):
        client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=30)
        messages = [{"role": "user", "content": "Hello!"}]
        return client.chat.completions.create(model="gpt", messages=messages, max_tokens=1)


@pytest.fixture
def proxy(url) -> Proxy:
    return Proxy(url, os.environ["MASTER_KEY"])


def ask_until_refused(proxy: Proxy, key: str) -> int:
    for count in range(20):
        try:
            proxy.ask(key)
        except openai.UnprocessableEntityError as refused:
            assert refused.body["type"] == "budget_exceeded"
            return count
    pytest.fail("the budget does not end")


def test_a_keys_life(proxy):
    made = proxy.post(
        "/key/generate",
        key_alias="laptop",
        models=["gpt"],
        max_budget=2.5 * COST,
        duration="30d",
        metadata={"owner": "ana"},
    )
    key = made["key"]
    assert key.startswith("sk-") and made["key_name"] == f"sk-...{key[-4:]}"

    assert ask_until_refused(proxy, key) in (2, 3)
    spent = proxy.get("/key/info", key=key)["info"]["spend"]
    assert spent >= 2 * COST
    proxy.post("/key/update", key=key, max_budget=100)
    proxy.ask(key)

    proxy.post("/key/block", key=key)
    with pytest.raises(openai.AuthenticationError):
        proxy.ask(key)
    proxy.post("/key/unblock", key=key)
    proxy.ask(key)

    new = proxy.post("/key/regenerate", key=key, grace_period="1h")["key"]
    proxy.ask(key)
    proxy.ask(new)
    assert proxy.get("/key/info", key=new)["info"]["spend"] > spent

    listed = proxy.get("/key/list", key_alias="laptop", return_full_object=True)
    assert [row["metadata"] for row in listed["keys"]] == [{"owner": "ana"}]
    assert proxy.post("/key/delete", keys=[new]) == {"deleted_keys": [new]}
    for gone in (key, new):
        with pytest.raises(openai.AuthenticationError):
            proxy.ask(gone)


def test_a_team_and_its_user(proxy):
    team = proxy.post("/team/new", team_alias="research", max_budget=1.5 * COST, models=["gpt"])
    user = proxy.post("/user/new", user_id="ana", user_role="internal_user", teams=[team["team_id"]])
    assert user["key"].startswith("sk-")
    key = proxy.post("/key/generate", user_id="ana", team_id=team["team_id"])["key"]
    assert ask_until_refused(proxy, key) in (1, 2)
    assert proxy.get("/team/info", team_id=team["team_id"])["team_info"]["spend"] >= COST
    assert proxy.get("/user/info", user_id="ana")["user_info"]["spend"] >= COST
    report = proxy.get("/global/spend/report", group_by="team")
    assert team["team_id"] in [group["team_name"] for group in report[-1]["teams"]]
    proxy.post("/team/delete", team_ids=[team["team_id"]])
    with pytest.raises(openai.AuthenticationError):
        proxy.ask(key)
