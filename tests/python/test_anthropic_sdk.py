"""The official anthropic SDK against /v1/messages, and its upstream's errors through the openai SDK."""

import anthropic
import openai
import pytest

ASK = [{"role": "user", "content": "Hello!"}]
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
ERRORS = [
    ("claude-limited", "RateLimitError"),
    ("claude-missing", "NotFoundError"),
    ("claude-invalid", "BadRequestError"),
]


@pytest.fixture(scope="session")
def client(url, key):
    return anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=30)


def test_complete(client, completion):
    answer = client.messages.create(model="claude", max_tokens=50, messages=ASK, system="Be brief.")
    assert (answer.type, answer.role) == ("message", "assistant")
    assert answer.content[0].text == completion
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (10, 5)


def test_complete_with_a_bearer_token(url, key, completion):
    client = anthropic.Anthropic(base_url=url, auth_token=key, max_retries=0)
    answer = client.messages.create(model="claude", max_tokens=50, messages=ASK)
    assert answer.content[0].text == completion


def test_stream(client, completion):
    with client.messages.stream(model="claude", max_tokens=50, messages=ASK) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == completion
    assert final.content[0].text == completion
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == 5


def test_call_a_tool(client, completion):
    first = client.messages.create(model="claude", max_tokens=50, messages=ASK, tools=[WEATHER])
    assert first.stop_reason == "tool_use"
    call = first.content[0]
    assert (call.type, call.name, call.input) == ("tool_use", "get_weather", {"city": "Paris"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Sunny"}
    history = [
        *ASK,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    second = client.messages.create(model="claude", max_tokens=50, messages=history, tools=[WEATHER])
    assert second.content[0].text == completion


def test_call_a_tool_in_a_stream(client):
    with client.messages.stream(model="claude", max_tokens=50, messages=ASK, tools=[WEATHER]) as stream:
        final = stream.get_final_message()
    assert final.stop_reason == "tool_use"
    assert (final.content[0].name, final.content[0].input) == ("get_weather", {"city": "Paris"})


def test_a_wrong_key(url):
    client = anthropic.Anthropic(base_url=url, api_key="sk-nobody-has-this-key", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError):
        client.messages.create(model="claude", max_tokens=50, messages=ASK)


@pytest.mark.parametrize(("model", "error"), ERRORS)
def test_an_upstream_error(client, model, error):
    with pytest.raises(getattr(anthropic, error)) as caught:
        client.messages.create(model=model, max_tokens=50, messages=ASK)
    assert caught.value.body["type"] == "error"
    assert caught.value.body["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("model", "error"), ERRORS)
def test_an_upstream_error_for_an_openai_client(url, key, model, error, stream):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
    with pytest.raises(getattr(openai, error)) as caught:
        client.chat.completions.create(model=model, messages=ASK, stream=stream)
    assert caught.value.body["message"]
    assert caught.value.body["type"]


def test_an_unknown_model(client):
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(model="no-such-model", max_tokens=50, messages=ASK)
    assert "no-such-model" in caught.value.body["error"]["message"]


def test_no_messages(client):
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model="claude", max_tokens=50, messages="Hello")
