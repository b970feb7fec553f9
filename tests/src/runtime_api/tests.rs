use super::*;
use crate::http::{Answer, Client};

struct Function {
    base: String,
    client: Client,
}

impl Function {
    fn new(api: &RuntimeApi) -> Self {
        Self { base: format!("http://{}", api.address()), client: Client::default() }
    }

    async fn next(&self) -> Answer {
        self.client.get(&format!("{}/2018-06-01/runtime/invocation/next", self.base), &[]).await
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &'static [u8]) -> Answer {
        let url = format!("{}/2018-06-01/runtime/{path}", self.base);
        self.client.send(Method::POST, &url, headers, body).await
    }
}

const STREAMING: &[(&str, &str)] = &[
    ("lambda-runtime-function-response-mode", "streaming"),
    ("content-type", "application/vnd.awslambda.http-integration-response"),
];

#[tokio::test]
async fn an_event_goes_out_and_a_buffered_answer_comes_back() {
    let api = RuntimeApi::start(1).await;
    let function = Function::new(&api);
    let serve = async {
        let event = function.next().await;
        assert_eq!(event.json(), json!({"hello": 1}));
        assert!(event.header("lambda-runtime-deadline-ms").parse::<u64>().is_ok());
        assert!(event.header("lambda-runtime-invoked-function-arn").starts_with("arn:aws:lambda:"));
        assert!(event.header("lambda-runtime-trace-id").starts_with("Root="));
        let id = event.header("lambda-runtime-aws-request-id");
        let path = format!("invocation/{id}/response");
        let accepted = function.post(&path, &[], br#"{"statusCode":200,"body":"hi"}"#).await;
        assert_eq!(accepted.status, 202);
        let again = function.post(&path, &[], br#"{"statusCode":200,"body":"hi"}"#).await;
        assert_eq!(again.status, 400, "an invocation is answered once");
    };
    let event = json!({"hello": 1});
    let (answer, ()) = tokio::join!(api.invoke(&event), serve);
    let whole = answer.unwrap().collect().await;
    assert_eq!((whole.mode, whole.status, whole.text()), (Mode::Buffered, 200, "hi".to_owned()));
}

#[tokio::test]
async fn an_invocation_is_billed_until_the_next_event_is_asked_for() {
    let api = RuntimeApi::start(1).await;
    let function = Function::new(&api);
    let serve = async {
        let event = function.next().await;
        let path = format!("invocation/{}/response", event.header("lambda-runtime-aws-request-id"));
        function.post(&path, &[], br#"{"statusCode":200}"#).await
    };
    let (answer, _) = tokio::join!(api.invoke(&Value::Null), serve);
    assert_eq!(answer.unwrap().collect().await.status, 200);
    assert_eq!(api.take_billed(), [], "the client has its answer, and the function still works");
    tokio::select! {
        _ = function.next() => panic!("an event without an invocation"),
        idle = api.idle() => idle.unwrap(),
    }
    assert_eq!(api.take_billed().len(), 1);
    assert_eq!(api.take_billed(), []);
}

#[tokio::test]
async fn a_stream_is_split_from_its_prelude() {
    let api = RuntimeApi::start(1).await;
    let function = Function::new(&api);
    let serve = async {
        let event = function.next().await;
        let id = event.header("lambda-runtime-aws-request-id");
        let body =
            b"{\"statusCode\":206,\"headers\":{\"a\":\"b\"},\"cookies\":[\"c=1\"]}\0\0\0\0\0\0\0\0some body";
        function.post(&format!("invocation/{id}/response"), STREAMING, body).await;
    };
    let (answer, ()) = tokio::join!(api.invoke(&Value::Null), serve);
    let whole = answer.unwrap().collect().await;
    assert_eq!((whole.mode, whole.status, whole.text()), (Mode::Streamed, 206, "some body".to_owned()));
    assert_eq!((whole.header("a"), whole.header("set-cookie")), ("b", "c=1"));
    assert_eq!(whole.error, None);
}

#[tokio::test]
async fn trailers_report_an_error_in_the_middle_of_a_stream() {
    let api = RuntimeApi::start(1).await;
    let function = Function::new(&api);
    let serve = async {
        let event = function.next().await;
        let id = event.header("lambda-runtime-aws-request-id");
        let request = format!(
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nhost: x\r\n\
             lambda-runtime-function-response-mode: streaming\r\ntransfer-encoding: chunked\r\n\
             trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n\
             4\r\npart\r\n0\r\nLambda-Runtime-Function-Error-Type: Runtime.Broken\r\n\
             Lambda-Runtime-Function-Error-Body: d2h5\r\n\r\n"
        );
        let mut socket = tokio::net::TcpStream::connect(api.address()).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut socket, request.as_bytes()).await.unwrap();
        socket
    };
    let (answer, _socket) = tokio::join!(api.invoke(&Value::Null), serve);
    let whole = answer.unwrap().collect().await;
    assert_eq!(whole.text(), "part");
    assert_eq!(whole.error, Some(FunctionError::new("Runtime.Broken", "why")));
}

#[tokio::test]
async fn errors_reach_the_caller() {
    let api = RuntimeApi::start(1).await;
    let function = Function::new(&api);
    let serve = async {
        let event = function.next().await;
        let id = event.header("lambda-runtime-aws-request-id");
        let report = br#"{"errorType":"Oops","errorMessage":"it broke"}"#;
        function.post(&format!("invocation/{id}/error"), &[], report).await;
    };
    let (answer, ()) = tokio::join!(api.invoke(&Value::Null), serve);
    assert_eq!(answer.unwrap_err(), FunctionError::new("Oops", "it broke"));

    let serve = async {
        let event = function.next().await;
        let id = event.header("lambda-runtime-aws-request-id");
        function.post(&format!("invocation/{id}/response"), STREAMING, b"{\"statusCode\":200").await;
    };
    let (answer, ()) = tokio::join!(api.invoke(&Value::Null), serve);
    assert_eq!(answer.unwrap_err().kind, "MalformedResponse");

    function.post("init/error", &[], br#"{"errorType":"NoConfig","errorMessage":"where?"}"#).await;
    assert_eq!(api.idle().await.unwrap_err().kind, "NoConfig");
    assert_eq!(api.invoke(&Value::Null).await.unwrap_err().kind, "NoConfig");
}

#[tokio::test]
async fn a_caller_that_goes_away_closes_the_stream() {
    let api = RuntimeApi::start(1).await;
    let function = Function::new(&api);
    let serve = async {
        let event = function.next().await;
        let id = event.header("lambda-runtime-aws-request-id").to_owned();
        let mut socket = tokio::net::TcpStream::connect(api.address()).await.unwrap();
        let request = format!(
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nhost: x\r\n\
             lambda-runtime-function-response-mode: streaming\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n"
        );
        tokio::io::AsyncWriteExt::write_all(&mut socket, request.as_bytes()).await.unwrap();
        socket
    };
    let (answer, mut socket) = tokio::join!(api.invoke(&Value::Null), serve);
    let mut answer = answer.unwrap();
    assert_eq!(&answer.chunk().await.unwrap().unwrap().bytes[..], b"part");
    drop(answer);
    let mut rest = Vec::new();
    let closed =
        crate::within("a closed socket", tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut rest));
    // Closed with bytes unread is a reset, closed without is an end: both are the service's to choose.
    let _ = closed.await;
    assert!(rest.is_empty(), "answered instead: {}", String::from_utf8_lossy(&rest));
}

#[tokio::test]
async fn the_next_event_waits_for_the_extensions() {
    let api = RuntimeApi::start(1).await;
    let function = Function::new(&api);
    let extensions = format!("{}/2020-01-01/extension", function.base);
    let register = format!("{extensions}/register");
    let register = function.client.send(
        Method::POST,
        &register,
        &[("lambda-extension-name", "settlement")],
        br#"{"events":["INVOKE"]}"#.as_slice(),
    );
    let id = register.await.header("lambda-extension-identifier").to_owned();
    let url = format!("{extensions}/event/next");
    let headers = [("lambda-extension-identifier", id.as_str())];
    let unknown = function.client.get(&url, &[("lambda-extension-identifier", "unknown")]).await;
    assert_eq!(unknown.status, 403);

    let mut next = Box::pin(function.next());
    let mut idle = Box::pin(api.idle());
    // Whatever order they run in, the environment is not idle while the extension is at work.
    tokio::select! {
        biased;
        _ = &mut idle => panic!("idle without the extension"),
        _ = &mut next => panic!("an event without an invocation"),
        () = async { for _ in 0..100 { tokio::task::yield_now().await } } => {}
    }
    let mut extension = Box::pin(function.client.get(&url, &headers));
    tokio::select! {
        _ = &mut next => panic!("an event without an invocation"),
        _ = &mut extension => panic!("an event without an invocation"),
        reached = &mut idle => assert!(reached.is_ok()),
    }
    let (told, _) = tokio::join!(extension, async {
        tokio::select! { _ = api.invoke(&Value::Null) => {}, _ = &mut next => {} }
    });
    assert_eq!(told.json()["eventType"], "INVOKE");
}
