//! What the pipeline hands to whoever called it: a response, and what is left to do once it has gone out.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Frame, SizeHint};

use crate::record::Aftermath;

/// The largest request body, in bytes: what a Lambda invocation can carry. The local server keeps the same
/// bound, so that what works on a laptop works deployed.
pub const MAX_BODY_BYTES: usize = 6 * 1024 * 1024;

/// The answer to one request.
pub struct Answer {
    /// The response; its body may still be coming from upstream.
    pub response: http::Response<Body>,
    /// Log line and settlement: run it to its end, without holding the client.
    pub aftermath: Option<Aftermath>,
}

/// A response body. It cannot fail: what goes wrong after the first byte is an event in the stream.
pub enum Body {
    /// All of it, in memory.
    Whole(Bytes),
    /// As it comes from upstream.
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(stream) => {
                stream.as_mut().poll_next(context).map(|next| next.map(Frame::data).map(Ok))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}
