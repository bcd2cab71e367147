//! HTTP/2: requests beside each other on a connection (RFC 9113).
//!
//! The h2 crate reads, and writes what is well-formed. What it refuses to write is written beside
//! it, between two of its frames.

use std::{
    future::poll_fn,
    io,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    server::{self, SendResponse},
};
use http::{HeaderMap, Method, Response, StatusCode};
use tokio::{
    io::AsyncWriteExt,
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
};

use super::{
    super::{close, http2 as frames},
    Answer, Shared,
    exchange::{End, Exchange, Extent, perform},
    wire::{SharedWire, Wire},
};

/// Bytes to be written beside the h2 crate, and who wants to know when they are.
type Aside = (Vec<u8>, oneshot::Sender<()>);

/// Serves a connection.
pub(super) async fn serve(wire: Wire, shared: &Arc<Shared>, heads: &Semaphore) -> io::Result<()> {
    let mut wire = SharedWire::new(wire);
    let mut connection: server::Connection<_, Bytes> = server::handshake(wire.clone())
        .await
        .map_err(io::Error::other)?;
    let (asides, mut aside) = mpsc::unbounded_channel::<Aside>();
    // Dropped with the connection, and all that they do with it.
    let mut exchanges = JoinSet::new();
    let end = loop {
        tokio::select! {
            // First of all, whatever is there to be written is written.
            biased;
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else {
                    break End::Close;
                };
                let (play, record) = shared.take();
                if play.needs_connection() {
                    // There is one already.
                    break End::Reset;
                }
                let (head, body) = request.into_parts();
                record.head(&head.method, &head.uri, &head.headers);
                heads.add_permits(1);
                let acts = play.acts(&head.method, &head.uri, &head.headers);
                let mut exchange = Http2 {
                    body,
                    is_head: head.method == Method::HEAD,
                    trailers: None,
                    answer: Sending::Not(respond),
                    asides: asides.clone(),
                };
                let shared = Arc::clone(shared);
                exchanges.spawn(async move {
                    perform(&mut exchange, acts, &record, &shared).await
                });
            }
            Some(end) = exchanges.join_next() => match end.expect("no panic") {
                Ok(End::Keep) => {
                    if shared.next_needs_connection() {
                        connection.graceful_shutdown();
                    }
                }
                Ok(end) => break end,
                // The client gave this one up.
                Err(_) => {}
            },
            Some((bytes, written)) = aside.recv() => {
                flush(&mut connection).await?;
                wire.write_all(&bytes).await?;
                wire.flush().await?;
                // Nobody to tell is none to wait.
                let _ = written.send(());
            }
        }
    };
    // It may have failed, which is why it ends.
    let _ = flush(&mut connection).await;
    drop((exchanges, connection));
    let wire = wire.into_inner().expect("the driver is gone");
    match end {
        End::Keep | End::Close => close(wire).await,
        End::Reset => wire.reset(),
    }
}

/// Writes all that the h2 crate has to write. What it reads meanwhile stays with it.
async fn flush(connection: &mut server::Connection<SharedWire, Bytes>) -> io::Result<()> {
    let closed = |cx: &mut Context<'_>| match connection.poll_closed(cx) {
        Poll::Ready(Err(error)) => Poll::Ready(Err(io::Error::other(error))),
        Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
    };
    poll_fn(closed).await
}

/// One request on a connection.
#[derive(Debug)]
struct Http2 {
    body: RecvStream,
    /// Whether its answer has no content (RFC 9110, section 9.3.2).
    is_head: bool,
    trailers: Option<HeaderMap>,
    answer: Sending,
    asides: mpsc::UnboundedSender<Aside>,
}

/// How much of the answer was sent.
#[derive(Debug)]
enum Sending {
    Not(SendResponse<Bytes>),
    Some(SendStream<Bytes>),
    All,
}

impl Http2 {
    fn id(&self) -> u32 {
        self.body.stream_id().as_u32()
    }

    fn unanswered(&mut self) -> &mut SendResponse<Bytes> {
        match &mut self.answer {
            Sending::Not(respond) => respond,
            Sending::Some(_) | Sending::All => panic!("answered twice"),
        }
    }

    async fn aside(&self, bytes: Vec<u8>) -> io::Result<()> {
        let (tell, written) = oneshot::channel();
        let gone = |_| io::ErrorKind::BrokenPipe;
        self.asides.send((bytes, tell)).map_err(|_| gone(()))?;
        written.await.map_err(|_| gone(()))?;
        Ok(())
    }
}

impl Exchange for Http2 {
    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        match self.body.data().await {
            Some(content) => {
                let content = content.map_err(io::Error::other)?;
                let window = self.body.flow_control();
                window
                    .release_capacity(content.len())
                    .map_err(io::Error::other)?;
                Ok(Some(content))
            }
            None => {
                self.trailers = self.body.trailers().await.map_err(io::Error::other)?;
                Ok(None)
            }
        }
    }

    fn trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    async fn inform(&mut self, status: StatusCode) -> io::Result<()> {
        let mut interim = Response::new(());
        *interim.status_mut() = status;
        let sent = self.unanswered().send_informational(interim);
        sent.map_err(io::Error::other)
    }

    async fn answer(&mut self, answer: &Answer, extent: Extent, _: bool) -> io::Result<()> {
        let mut response = Response::builder().status(answer.status);
        for (name, value) in &answer.headers {
            response = response.header(*name, *value);
        }
        response = response.header("content-length", answer.body.len());
        let response = response.body(()).unwrap();
        let is_head = self.is_head;
        let sent = self.unanswered().send_response(response, is_head);
        let mut stream = sent.map_err(io::Error::other)?;
        if is_head {
            self.answer = Sending::All;
            return Ok(());
        }
        let (content, end) = match extent {
            Extent::Whole => (answer.body.clone(), true),
            Extent::HalfABody => (answer.body.slice(..answer.body.len() / 2), false),
        };
        stream.send_data(content, end).map_err(io::Error::other)?;
        self.answer = match extent {
            Extent::Whole => Sending::All,
            Extent::HalfABody => Sending::Some(stream),
        };
        Ok(())
    }

    async fn half_a_head(&mut self) -> io::Result<()> {
        self.aside(frames::half_a_head(self.id())).await
    }

    async fn write(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        self.aside(bytes).await
    }

    async fn given_up(&mut self) -> io::Result<End> {
        let reset = |cx: &mut Context<'_>| match &mut self.answer {
            Sending::Not(respond) => respond.poll_reset(cx),
            Sending::Some(stream) => stream.poll_reset(cx),
            Sending::All => Poll::Ready(Ok(Reason::NO_ERROR)),
        };
        poll_fn(reset).await.map_err(io::Error::other)?;
        Ok(End::Keep)
    }

    async fn reset_stream(&mut self, code: u32) -> io::Result<End> {
        // What was sent before would not be written any more.
        self.aside(Vec::new()).await?;
        match &mut self.answer {
            Sending::Not(respond) => respond.send_reset(code.into()),
            Sending::Some(stream) => stream.send_reset(code.into()),
            Sending::All => {}
        }
        Ok(End::Keep)
    }

    async fn go_away(&mut self, processed: bool, code: u32) -> io::Result<End> {
        let last = if processed { self.id() } else { 0 };
        self.aside(frames::goaway(last, code)).await?;
        // The client closes the connection when it has no more use for it.
        Ok(End::Keep)
    }

    fn can_keep(&self, _: bool) -> bool {
        true
    }
}
