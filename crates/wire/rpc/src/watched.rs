//! The body of an answer, followed to its end: a stream holds its place among the calls under way for as long as it lasts, and
//! its code comes last.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body as HttpBody, Frame};
use tokio::sync::OwnedSemaphorePermit;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::{Code, Status};

use crate::guard::Call;

/// See the module's head.
pub(crate) struct Watched {
    body: Body,
    call: Option<Call>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Watched {
    pub(crate) fn new(body: Body, call: Call, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            body,
            call: Some(call),
            _permit: permit,
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let span = this.call.as_ref().map(|call| call.span().clone());
        let _entered = span.as_ref().map(tracing::Span::enter);
        let polled = Pin::new(&mut this.body).poll_frame(context);
        let code = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame
                .trailers_ref()
                .and_then(|trailers| trailers.get("grpc-status"))
                .map(|value| Code::from_bytes(value.as_bytes())),
            Poll::Ready(Some(Err(status))) => Some(status.code()),
            Poll::Ready(None) | Poll::Pending => None,
        };
        if let Some(code) = code
            && let Some(call) = this.call.take()
        {
            call.end(code);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

impl Drop for Watched {
    /// Without a code the client went away.
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            call.end(Code::Cancelled);
        }
    }
}
