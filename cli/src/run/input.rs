//! The request and the scripted response, from options.

use bytes::Bytes;
use chassis_abi::HeaderList;
use chassis_conformance::drive::Message;

use crate::exit::{Exit, Failure};
use crate::values::{Content, Field};

/// A request from its line (`METHOD PATH`) and fields; `authority` is where it goes unless a field says so.
pub(crate) fn request(
    line: &str,
    authority: &str,
    fields: &[Field],
    body: Option<&Content>,
    trailers: &[Field],
) -> Result<Message, Failure> {
    let Some((method, path)) = line.trim().split_once(' ') else {
        return Err(usage(format!("--request: `{line}` is not `METHOD PATH`, as 'GET /'")));
    };
    let mut headers: HeaderList =
        [(":authority", "localhost"), (":path", "/"), (":method", "GET"), (":scheme", "http")].into_iter().collect();
    set(&mut headers, &[Field { name: ":authority".into(), value: authority.into() }], "--upstream")?;
    let named = |name: &str, value: &str| Field { name: name.into(), value: value.trim().into() };
    set(&mut headers, &[named(":method", method), named(":path", path)], "--request")?;
    set(&mut headers, fields, "--header")?;
    message(headers, body, trailers, "--trailer")
}

/// A response from its status and fields.
pub(crate) fn response(
    status: u16,
    fields: &[Field],
    body: Option<&Content>,
    trailers: &[Field],
) -> Result<Message, Failure> {
    let mut headers: HeaderList = [(":status", "200")].into_iter().collect();
    set(&mut headers, &[Field { name: ":status".into(), value: status.to_string().into() }], "--upstream-status")?;
    set(&mut headers, fields, "--upstream-header")?;
    message(headers, body, trailers, "--upstream-trailer")
}

fn message(headers: HeaderList, body: Option<&Content>, fields: &[Field], option: &str) -> Result<Message, Failure> {
    let mut trailers = HeaderList::default();
    set(&mut trailers, fields, option)?;
    let trailers = Some(trailers).filter(|trailers| !trailers.is_empty());
    Ok(Message { headers, body: body.map(Content::load).transpose()?, trailers })
}

/// Adds fields to a list; pseudo-headers replace what is there, and `host` is one of them.
fn set(headers: &mut HeaderList, fields: &[Field], option: &str) -> Result<(), Failure> {
    for Field { name, value } in fields {
        let name: &[u8] = if name == b"host" && headers.get(b":authority").is_some() { b":authority" } else { name };
        let result = if name.starts_with(b":") { headers.replace(name, value) } else { headers.add(name, value) };
        result.map_err(|error| {
            let (name, value) = (chassis_host::escape(name), chassis_host::escape(value));
            usage(format!("{option}: `{name}: {value}`: {error}"))
        })?;
    }
    Ok(())
}

fn usage(message: String) -> Failure {
    Failure::new(Exit::Usage, anyhow::anyhow!(message))
}

/// The bytes of a configuration; none if it was not given.
pub(crate) fn configuration(content: Option<&Content>) -> Result<Bytes, Failure> {
    content.map_or_else(|| Ok(Bytes::new()), Content::load)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&str, &str)]) -> Vec<Field> {
        list.iter().map(|(name, value)| Field { name: (*name).into(), value: (*value).into() }).collect()
    }

    #[test]
    fn a_request_has_its_pseudo_headers_first_and_keeps_the_order_of_fields() {
        let fields = fields(&[("b", "1"), ("host", "example.org"), ("a", "2"), ("b", "3")]);
        let request = request("PUT /x?y=1", "localhost", &fields, None, &[]).unwrap();
        let text: Vec<String> = request
            .headers
            .iter()
            .map(|(name, value)| format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
            .collect();
        assert_eq!(
            text,
            [":authority=example.org", ":path=/x?y=1", ":method=PUT", ":scheme=http", "b=1", "a=2", "b=3"]
        );
        assert_eq!((request.body, request.trailers), (None, None));
    }

    #[test]
    fn what_no_client_could_send_is_a_mistake_in_the_command_line() {
        let wrong = |line: &str, field: (&str, &str)| {
            let failure = request(line, "localhost", &fields(&[field]), None, &[]).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            failure.error.to_string()
        };
        assert_eq!(wrong("GET", ("a", "1")), "--request: `GET` is not `METHOD PATH`, as 'GET /'");
        assert_eq!(wrong("GET x", ("a", "1")), "--request: `:path: x`: not a header value");
        assert_eq!(wrong("GET /", ("a b", "1")), "--header: `a b: 1`: not a header name");
        assert_eq!(wrong("GET /", ("a", "1\n")), "--header: `a: 1\\n`: not a header value");
        assert!(wrong("GET /", (":status", "200")).contains("pseudo-headers"));
        assert!(response(99, &[], None, &[]).unwrap_err().error.to_string().starts_with("--upstream-status: "));
    }
}
