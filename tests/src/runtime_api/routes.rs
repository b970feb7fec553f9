//! The routes of the Runtime and Extensions API.

use http_body_util::Collected;

use super::*;

/// The answer of both APIs to a POST that was understood.
fn accepted() -> HttpResponse<Body> {
    json_answer(StatusCode::ACCEPTED, &json!({"status": "OK"}))
}

fn refused(status: StatusCode, kind: &str, message: &str) -> HttpResponse<Body> {
    json_answer(status, &json!({"errorType": kind, "errorMessage": message}))
}

pub(super) async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
    hangup: Hangup,
) -> HttpResponse<Body> {
    let path = request.uri().path().trim_start_matches('/');
    // cargo-lambda's API lies under the function's name.
    let path = path.strip_prefix(FUNCTION_NAME).unwrap_or(path).trim_start_matches('/').to_owned();
    let mut parts = path.splitn(3, '/');
    let route = (request.method().clone(), parts.next(), parts.next(), parts.next());
    match (route.0, route.1, route.2, route.3.unwrap_or_default()) {
        (Method::GET, Some("2018-06-01"), Some("runtime"), "invocation/next") => next(shared).await,
        (Method::POST, Some("2018-06-01"), Some("runtime"), "init/error") => {
            let error = reported(request).await;
            shared.fail(&error);
            accepted()
        }
        (Method::POST, Some("2018-06-01"), Some("runtime"), rest) => {
            let rest = rest.strip_prefix("invocation/").and_then(|rest| rest.split_once('/'));
            match rest {
                Some((id, "response")) => respond(&shared, id, request, &hangup).await,
                Some((id, "error")) => {
                    let in_flight = shared.in_flight().remove(id);
                    let error = reported(request).await;
                    let Some(InFlight { head, slot, .. }) = in_flight else { return unknown_invocation() };
                    drop(slot);
                    let _ = head.send(Err(error));
                    accepted()
                }
                _ => refused(StatusCode::NOT_FOUND, "NotFound", "no such route"),
            }
        }
        (Method::POST, Some("2020-01-01"), Some("extension"), "register") => register(&shared, request).await,
        (Method::GET, Some("2020-01-01"), Some("extension"), "event/next") => {
            next_for_extension(&shared, request.headers()).await
        }
        (Method::POST, Some("2020-01-01"), Some("extension"), "init/error" | "exit/error") => {
            let error = reported(request).await;
            shared.fail(&error);
            accepted()
        }
        _ => refused(StatusCode::NOT_FOUND, "NotFound", "no such route"),
    }
}

fn unknown_invocation() -> HttpResponse<Body> {
    refused(StatusCode::BAD_REQUEST, "InvalidRequestID", "no such invocation is in flight")
}

/// Counts a waiting request for as long as it waits, even if its connection breaks.
struct Waiting<'a> {
    shared: &'a Shared,
    count: fn(&mut Phase) -> &mut usize,
}

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared, count: fn(&mut Phase) -> &mut usize) -> Self {
        shared.phase.send_modify(|phase| *count(phase) += 1);
        shared.bill();
        Self { shared, count }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.phase.send_modify(|phase| *(self.count)(phase) -= 1);
    }
}

async fn next(shared: Arc<Shared>) -> HttpResponse<Body> {
    let waiting = Waiting::new(&shared, |phase| &mut phase.waiting);
    let event = shared.events.lock().await.recv().await;
    drop(waiting);
    let Some(Event { id, payload, deadline }) = event else {
        return refused(StatusCode::INTERNAL_SERVER_ERROR, "Shutdown", "the environment is shutting down");
    };
    let now = Instant::now();
    if let Some(invocation) = shared.in_flight().get_mut(&id) {
        invocation.since = now;
    }
    shared.billing().since = Some(now).filter(|_| !shared.concurrent);
    let arn = format!("arn:aws:lambda:us-east-1:{ACCOUNT}:function:{FUNCTION_NAME}");
    let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";
    HttpResponse::builder()
        .header("content-type", "application/json")
        .header("lambda-runtime-aws-request-id", id)
        .header("lambda-runtime-deadline-ms", deadline.to_string())
        .header("lambda-runtime-invoked-function-arn", arn)
        .header("lambda-runtime-trace-id", trace)
        .body(full(payload))
        .expect("valid headers")
}

/// An error as the runtime reports it: `{"errorType", "errorMessage"}`.
async fn reported(request: Request<Incoming>) -> FunctionError {
    let header = request.headers().get("lambda-runtime-function-error-type").cloned();
    let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    let report: Value = serde_json::from_slice(&body).unwrap_or_default();
    let header = header.as_ref().and_then(|value| value.to_str().ok());
    let kind = report["errorType"].as_str().or(header).unwrap_or("Unknown");
    let message = report["errorMessage"].as_str().map_or_else(|| report.to_string(), str::to_owned);
    FunctionError::new(kind, message)
}

async fn respond(
    shared: &Shared,
    id: &str,
    request: Request<Incoming>,
    hangup: &Hangup,
) -> HttpResponse<Body> {
    let Some(InFlight { since, head, slot }) = shared.in_flight().remove(id) else {
        return unknown_invocation();
    };
    let is = |name: &str, value: &[u8]| {
        request.headers().get(name).is_some_and(|header| header.as_bytes().eq_ignore_ascii_case(value))
    };
    if is("lambda-runtime-function-response-mode", b"streaming") {
        let with_prelude = is("content-type", b"application/vnd.awslambda.http-integration-response");
        receive(request.into_body(), with_prelude, since, head, hangup).await;
    } else {
        let answer = match request.into_body().collect().await {
            Ok(body) if shared.plain.load(Ordering::SeqCst) => {
                Ok((Head { status: 200, headers: HeaderMap::new() }, body.to_bytes()))
            }
            Ok(body) => buffered(&body.to_bytes()),
            Err(error) => Err(format!("the answer broke off: {error}")),
        };
        let answer = answer.map(|(head, bytes)| {
            let (send, pieces) = mpsc::unbounded_channel();
            let _ = send.send(Ok(Chunk { bytes, after: since.elapsed() }));
            Response { mode: Mode::Buffered, status: head.status, headers: head.headers, pieces }
        });
        // What API Gateway calls a malformed Lambda proxy response.
        let answer = answer.map_err(|why| FunctionError::new("MalformedResponse", why));
        let _ = head.send(answer);
    }
    drop(slot);
    accepted()
}

/// Receives a streamed answer and passes it on as it comes.
async fn receive(
    mut body: Incoming,
    with_prelude: bool,
    since: Instant,
    head: oneshot::Sender<Result<Response, FunctionError>>,
    hangup: &Hangup,
) {
    let (send, pieces) = mpsc::unbounded_channel();
    let mut head = Some((head, pieces));
    if !with_prelude {
        begin(&mut head, Head { status: 200, headers: HeaderMap::new() });
    }
    let mut unread = BytesMut::new();
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = send.closed() => return hangup.now().await,
        };
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return end(head, &send, "Runtime.TruncatedResponse", error.to_string()),
            None if head.is_some() => {
                return end(head, &send, "MalformedResponse", "the stream ended within its prelude".into());
            }
            None => return,
        };
        if let Some(trailers) = frame.trailers_ref()
            && let Some(error) = trailer_error(trailers)
        {
            let _ = send.send(Err(error));
            return;
        }
        let Ok(data) = frame.into_data() else { continue };
        unread.extend_from_slice(&data);
        if head.is_some() {
            match prelude(&mut unread) {
                None => continue,
                Some(Ok(parsed)) => begin(&mut head, parsed),
                Some(Err(why)) => return end(head, &send, "MalformedResponse", why),
            }
        }
        if !unread.is_empty() {
            let chunk = Chunk { bytes: unread.split().freeze(), after: since.elapsed() };
            if send.send(Ok(chunk)).is_err() {
                return hangup.now().await;
            }
        }
    }
}

type HeadSender = Option<(
    oneshot::Sender<Result<Response, FunctionError>>,
    mpsc::UnboundedReceiver<crate::response::Piece>,
)>;

fn begin(head: &mut HeadSender, Head { status, headers }: Head) {
    if let Some((head, pieces)) = head.take() {
        let _ = head.send(Ok(Response { mode: Mode::Streamed, status, headers, pieces }));
    }
}

/// Ends a stream that broke: before the head it is the invocation's error, later the stream's.
fn end(head: HeadSender, send: &mpsc::UnboundedSender<crate::response::Piece>, kind: &str, message: String) {
    let error = FunctionError::new(kind, message);
    match head {
        Some((head, _)) => {
            let _ = head.send(Err(error));
        }
        None => {
            let _ = send.send(Err(error));
        }
    }
}

/// The error that a stream's trailers report.
fn trailer_error(trailers: &HeaderMap) -> Option<FunctionError> {
    let kind = trailers.get("lambda-runtime-function-error-type")?.to_str().ok()?;
    let body = trailers.get("lambda-runtime-function-error-body").map(::http::HeaderValue::as_bytes);
    let body = BASE64_STANDARD.decode(body.unwrap_or_default()).unwrap_or_default();
    Some(FunctionError::new(kind, String::from_utf8_lossy(&body)))
}

pub(super) fn invoke_event(id: &str, deadline: u128) -> Value {
    json!({
        "eventType": "INVOKE",
        "deadlineMs": u64::try_from(deadline).unwrap_or(u64::MAX),
        "requestId": id,
        "invokedFunctionArn": format!("arn:aws:lambda:us-east-1:{ACCOUNT}:function:{FUNCTION_NAME}"),
        "tracing": {"type": "X-Amzn-Trace-Id", "value": "Root=1-5759e988-bd862e3fe1be46a994272793"},
    })
}

async fn register(shared: &Shared, request: Request<Incoming>) -> HttpResponse<Body> {
    if !request.headers().contains_key("lambda-extension-name") {
        return refused(StatusCode::BAD_REQUEST, "InvalidExtensionName", "no Lambda-Extension-Name");
    }
    let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let wants =
        |event: &str| body["events"].as_array().is_some_and(|events| events.iter().any(|e| e == event));
    let (send, events) = mpsc::unbounded_channel();
    let extension = Extension {
        invoke: wants("INVOKE"),
        shutdown: wants("SHUTDOWN"),
        send,
        events: Arc::new(AsyncMutex::new(events)),
    };
    let mut extensions = shared.extensions();
    let id = format!("0d1e9bdb-5b3c-4f1c-8d39-{:012x}", extensions.len() + 1);
    extensions.insert(id.clone(), extension);
    shared.phase.send_modify(|phase| phase.extensions = extensions.len());
    drop(extensions);
    let mut response = json_answer(
        StatusCode::OK,
        &json!({
            "functionName": FUNCTION_NAME,
            "functionVersion": "$LATEST",
            "handler": "bootstrap",
            "accountId": ACCOUNT,
        }),
    );
    response.headers_mut().insert("lambda-extension-identifier", id.parse().expect("an ASCII id"));
    response
}

async fn next_for_extension(shared: &Shared, headers: &HeaderMap) -> HttpResponse<Body> {
    let id = headers.get("lambda-extension-identifier").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let events = shared.extensions().get(id).map(|extension| Arc::clone(&extension.events));
    let Some(events) = events else {
        return refused(StatusCode::FORBIDDEN, "Extension.InvalidExtensionIdentifier", "not registered");
    };
    let waiting = Waiting::new(shared, |phase| &mut phase.extensions_waiting);
    let event = events.lock().await.recv().await;
    drop(waiting);
    json_answer(StatusCode::OK, &event.unwrap_or_default())
}
