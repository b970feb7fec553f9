"""The official openai SDK: every call through an OpenAI and through an Anthropic deployment."""

import asyncio
import json

import openai
import pytest

ASK = [{"role": "user", "content": "Hello!"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
BOTH = pytest.mark.parametrize("model", ["gpt", "claude"])


@pytest.fixture(scope="session")
def client(url, key):
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=30)


@BOTH
def test_complete(client, model, completion):
    answer = client.chat.completions.create(model=model, messages=ASK)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content == completion
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (10, 5)
    assert answer.usage.total_tokens == 15


@BOTH
def test_system_and_history(client, model, completion):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello!"}]},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "And now?"},
    ]
    answer = client.chat.completions.create(model=model, messages=messages, max_tokens=20)
    assert answer.choices[0].message.content == completion


@BOTH
def test_stream(client, model, completion):
    text, finish, roles = "", None, []
    for chunk in client.chat.completions.create(model=model, messages=ASK, stream=True):
        assert chunk.object == "chat.completion.chunk"
        assert chunk.usage is None, "usage was not asked for"
        assert len(chunk.choices) == 1, "only a usage chunk has no choices"
        choice = chunk.choices[0]
        text += choice.delta.content or ""
        finish = choice.finish_reason or finish
        if choice.delta.role:
            roles.append(choice.delta.role)
    assert (text, finish, roles) == (completion, "stop", ["assistant"])


@BOTH
def test_stream_with_usage(client, model, completion):
    options = {"include_usage": True}
    stream = client.chat.completions.create(model=model, messages=ASK, stream=True, stream_options=options)
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == completion
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 15
    assert all(chunk.usage is None for chunk in chunks[:-1])


@BOTH
def test_call_a_tool(client, model, completion):
    first = client.chat.completions.create(model=model, messages=ASK, tools=[WEATHER])
    choice = first.choices[0]
    assert choice.finish_reason == "tool_calls"
    call = choice.message.tool_calls[0]
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    history = [*ASK, choice.message, {"role": "tool", "tool_call_id": call.id, "content": "Sunny"}]
    second = client.chat.completions.create(model=model, messages=history, tools=[WEATHER])
    assert second.choices[0].message.content == completion


@BOTH
def test_call_a_tool_in_a_stream(client, model):
    with client.chat.completions.stream(model=model, messages=ASK, tools=[WEATHER]) as stream:
        final = stream.get_final_completion()
    call = final.choices[0].message.tool_calls[0]
    assert final.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}


@BOTH
def test_async_stream(url, key, model, completion):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
            stream = await client.chat.completions.create(model=model, messages=ASK, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(ask()) == completion


def test_azure_client(url, key, completion):
    client = openai.AzureOpenAI(azure_endpoint=url, api_key=key, api_version="2024-10-21", max_retries=0)
    answer = client.chat.completions.create(model="gpt", messages=ASK)
    assert answer.choices[0].message.content == completion


def test_models(client):
    models = {model.id for model in client.models.list()}
    assert {"demo", "gpt", "claude"} <= models
    assert client.models.retrieve("gpt").id == "gpt"


def test_headers(client):
    raw = client.chat.completions.with_raw_response.create(model="gpt", messages=ASK)
    assert raw.headers["x-litellm-call-id"]
    assert raw.headers["x-litellm-model-group"] == "gpt"


def test_a_wrong_key(url):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="sk-nobody-has-this-key", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(model="gpt", messages=ASK)
    assert caught.value.type == "token_not_found_in_db"
    with pytest.raises(openai.AuthenticationError):
        client.models.list()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("limited", openai.RateLimitError),
        ("missing", openai.NotFoundError),
        ("invalid", openai.BadRequestError),
    ],
)
def test_an_upstream_error(client, stream, model, error):
    with pytest.raises(error) as caught:
        client.chat.completions.create(model=model, messages=ASK, stream=stream)
    assert caught.value.body["message"]
    if error is openai.RateLimitError:
        assert caught.value.response.headers["retry-after"] == "7"


def test_an_unknown_model(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="no-such-model", messages=ASK)
    assert "no-such-model" in caught.value.body["message"]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_no_messages(client):
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="gpt", messages="Hello")
