//! One invocation: event, answer, aftermath.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use jiff::Timestamp;
use lambda_runtime::{Error, LambdaInvocation};

use super::event::{self, Unreadable};
use super::reply;
use super::runtime_api::{INVOCATION_ID, RuntimeApi};
use crate::answer::Answer;
use crate::gateway::{Deadline, Gateway};

/// Takes an invocation from lambda_runtime and answers it.
#[derive(Clone)]
pub(super) struct Service {
    gateway: Arc<Gateway>,
    api: RuntimeApi,
}

impl lambda_runtime::Service<LambdaInvocation> for Service {
    type Response = ();
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        Box::pin(self.clone().serve(invocation))
    }
}

impl Service {
    pub(super) fn new(gateway: Arc<Gateway>, api: RuntimeApi) -> Self {
        Self { gateway, api }
    }

    /// A failure to deliver is the invocation's alone: the next one may do better.
    async fn serve(self, invocation: LambdaInvocation) -> Result<(), Error> {
        let id = invocation.context.request_id.clone();
        let echo = invocation.parts.headers.get(INVOCATION_ID).cloned();
        let posted = match self.answer(invocation).await {
            Some((reply, streams, aftermath)) => {
                let posted = self.api.respond(&id, echo, reply, streams).await;
                if let Some(aftermath) = aftermath {
                    // A panic here must not end the environment: the answer has gone out.
                    let _ = AssertUnwindSafe(aftermath.run()).catch_unwind().await;
                }
                posted
            }
            None => self.api.fail(&id, echo, "UnknownEvent", FOREIGN_EVENT).await,
        };
        if let Err(error) = posted {
            self.gateway.warn("answer not delivered", &error.to_string());
        }
        Ok(())
    }

    async fn answer(
        &self,
        invocation: LambdaInvocation,
    ) -> Option<(reply::ReplyBody, bool, Option<crate::record::Aftermath>)> {
        let (sender, answer) = match event::read(&invocation.body) {
            Ok((sender, mut request)) => {
                let deadline = i64::try_from(invocation.context.deadline).unwrap_or(i64::MAX);
                if let Ok(deadline) = Timestamp::from_millisecond(deadline) {
                    request.extensions_mut().insert(Deadline(deadline));
                }
                (sender, self.gateway.answer(request).await)
            }
            Err(Unreadable::Malformed(sender)) => (sender, self.gateway.malformed_event()),
            Err(Unreadable::Foreign) => return None,
        };
        let Answer { response, aftermath } = answer;
        let streams = reply::streams(self.gateway.response_mode, sender);
        let body = if streams { reply::streamed(response) } else { reply::buffered(response, sender).await };
        Some((body, streams, aftermath))
    }
}

const FOREIGN_EVENT: &str =
    "This function takes events of function URLs, API Gateway and Application Load Balancers.";
