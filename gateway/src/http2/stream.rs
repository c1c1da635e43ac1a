//! One request of a client, and its response.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request};
use http_body::Body;

use super::Serving;
use super::body::{Asked, Received};
use crate::answer;
use crate::body::{ClientBody, ResponseBody};
use crate::head::{Exchange, Watch, judge_fields};
use crate::proxy::has_no_body;
use crate::stall::Stall;

/// Answers a request. What the client does not want any more is dropped.
pub(super) async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    exchange: Exchange,
    serving: Serving,
    watch: Rc<Watch>,
) {
    let (mut head, body) = request.into_parts();
    let method = head.method.clone();
    // Before they are counted, so that a client may send them in pieces.
    join_cookies(&mut head);
    let response = match judge_fields(&head, &serving.head) {
        Ok(()) => {
            let is_held = head.headers.contains_key(header::EXPECT) && !body.is_end_stream();
            let asked = is_held.then(Rc::<Asked>::default);
            let body = Received::new(body, &head.headers, serving.limits.idle, asked.clone());
            let request = Request::from_parts(head, ClientBody::Http2(body));
            let Some(response) = wait(&serving, request, exchange, &mut respond, asked).await else { return };
            response
        }
        Err(refusal) => {
            tracing::info!(client = %exchange.client().address(), "request refused: {refusal}");
            let status = refusal.status();
            answer::error(status, &format!("{status}: {refusal}"), exchange)
        }
    };
    if send(response, &method, &mut respond, serving.limits.idle).await.is_some() {
        watch.answered();
    }
}

/// The response; `None` if there is none to send.
async fn wait(
    serving: &Serving,
    request: Request<ClientBody>,
    exchange: Exchange,
    respond: &mut SendResponse<Bytes>,
    mut asked: Option<Rc<Asked>>,
) -> Option<Response<ResponseBody>> {
    let mut handling = pin!(serving.proxy.handle(request, exchange));
    let response = poll_fn(|cx| {
        if respond.poll_reset(cx).is_ready() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(response) = handling.as_mut().poll(cx) {
            return Poll::Ready(Some(response));
        }
        if asked.as_ref().is_some_and(|asked| asked.poll(cx).is_ready()) {
            asked = None;
            let mut go_on = Response::new(());
            *go_on.status_mut() = StatusCode::CONTINUE;
            // A client that gets none sends its body after a while.
            let _ = respond.send_informational(go_on);
        }
        Poll::Pending
    });
    match response.await? {
        Ok(response) => Some(response),
        Err(_) => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            None
        }
    }
}

/// Sends a response; `None` if the client did not take all of it.
async fn send(
    response: Response<ResponseBody>,
    method: &Method,
    respond: &mut SendResponse<Bytes>,
    limit: Duration,
) -> Option<()> {
    let (mut head, mut body) = response.into_parts();
    remove_of_connection(&mut head.headers);
    let head = Response::from_parts(head, ());
    let is_whole = body.is_end_stream() || has_no_body(method, head.status());
    let mut sending = respond.send_response(head, is_whole).ok()?;
    if is_whole {
        return Some(());
    }
    loop {
        let frame = poll_fn(|cx| {
            if sending.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(()));
            }
            Pin::new(&mut body).poll_frame(cx).map(Ok)
        });
        match frame.await.ok()? {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let is_last = body.is_end_stream();
                    send_data(&mut sending, data, is_last, limit).await?;
                    if is_last {
                        return Some(());
                    }
                }
                Err(frame) => {
                    let mut trailers = frame.into_trailers().unwrap_or_default();
                    remove_of_connection(&mut trailers);
                    return sending.send_trailers(trailers).ok();
                }
            },
            Some(Err(_)) => {
                sending.send_reset(Reason::INTERNAL_ERROR);
                return None;
            }
            None => return sending.send_data(Bytes::new(), true).ok(),
        }
    }
}

/// Sends a piece of a body as the client takes it.
async fn send_data(stream: &mut SendStream<Bytes>, mut data: Bytes, is_last: bool, limit: Duration) -> Option<()> {
    if data.is_empty() && is_last {
        return stream.send_data(data, true).ok();
    }
    let mut stall = Stall::new(limit);
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        while stream.capacity() == 0 {
            let taken = poll_fn(|cx| match stream.poll_capacity(cx) {
                Poll::Ready(capacity) => Poll::Ready(Some(capacity)),
                Poll::Pending => stall.poll(cx).map(|()| None),
            });
            match taken.await {
                Some(Some(Ok(_))) => {}
                Some(_) => return None,
                None => {
                    stream.send_reset(Reason::CANCEL);
                    return None;
                }
            }
        }
        stall.came();
        let piece = data.split_to(stream.capacity().min(data.len()));
        let is_last = is_last && data.is_empty();
        stream.send_data(piece, is_last).ok()?;
    }
    Some(())
}

/// Removes what HTTP/2 has no place for (RFC 9113, section 8.2.2).
fn remove_of_connection(headers: &mut HeaderMap) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, KEEP_ALIVE, PROXY_CONNECTION] {
        headers.remove(name);
    }
}

/// Makes one field of a cookie that came in several (RFC 9113, section 8.2.3).
fn join_cookies(head: &mut request::Parts) {
    let mut cookies = head.headers.get_all(header::COOKIE).iter();
    if let (Some(first), Some(second)) = (cookies.next(), cookies.next()) {
        let mut joined = first.as_bytes().to_vec();
        for cookie in std::iter::once(second).chain(cookies) {
            joined.extend_from_slice(b"; ");
            joined.extend_from_slice(cookie.as_bytes());
        }
        // What is joined of values is one.
        if let Ok(joined) = HeaderValue::from_maybe_shared(Bytes::from(joined)) {
            let _ = head.headers.try_insert(header::COOKIE, joined);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_joined_and_fields_of_the_connection_go() {
        let request = Request::builder().header("cookie", "a=1").header("cookie", "b=2").header("cookie", "c=3");
        let (mut head, ()) = request.header("connection", "close").body(()).unwrap().into_parts();
        join_cookies(&mut head);
        remove_of_connection(&mut head.headers);
        assert_eq!(head.headers.len(), 1);
        assert_eq!(head.headers["cookie"], "a=1; b=2; c=3");
    }
}
