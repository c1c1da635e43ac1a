//! Conditions of routes on real requests: each kind of operator, and what clients might send to get around one.

use crate::Gateway;
use crate::client::Client;
use crate::http2::Http2;

cases! {
    once: [
        each_operator_decides_on_requests,
        no_spelling_gets_around_a_condition,
        the_host_of_http2_is_a_header_too,
    ]
}

/// The status of a request that takes a route only if these conditions are true; `request` is what follows `GET `.
fn statuses(table: &[(&str, &[u8], u16)]) {
    let routes: Vec<String> = (0..)
        .zip(table)
        .map(|(number, (vars, ..))| {
            format!("{{ uri: /{number}, vars: {vars}, upstream: {{ nodes: {{ \"builtin:echo\": 1 }} }} }}")
        })
        .collect();
    let gateway = Gateway::routes(&format!("[{}]", routes.join(", ")));
    let mut client = Client::connect(gateway.address);
    for (number, (vars, rest, status)) in (0..).zip(table) {
        let mut request = format!("GET /{number}").into_bytes();
        request.extend_from_slice(rest);
        request.extend_from_slice(b"\r\nHost: A.Example\r\n\r\n");
        client.send(request);
        assert_eq!(client.response("GET").status, *status, "{vars} of {}", rest.escape_ascii());
    }
}

fn each_operator_decides_on_requests() {
    statuses(&[
        (r#"[["arg_v","==","1"]]"#, b"?v=1 HTTP/1.1", 200),
        (r#"[["arg_v","==","1"]]"#, b"?v=2 HTTP/1.1", 404),
        (r#"[["host","a.example"]]"#, b" HTTP/1.1", 200),
        (r#"[["http_x","~=","a"]]"#, b" HTTP/1.1\r\nX: b", 200),
        (r#"[["http_x","~=","a"]]"#, b" HTTP/1.1\r\nX: a", 404),
        (r#"[["http_x_age",">","18"]]"#, b" HTTP/1.1\r\nX-Age: 19", 200),
        (r#"[["http_x_age",">","18"]]"#, b" HTTP/1.1\r\nX-Age: 9", 404),
        (r#"[["http_x_age",">=",18]]"#, b" HTTP/1.1\r\nX-Age: 18", 200),
        (r#"[["http_x_age",">=",18]]"#, b" HTTP/1.1\r\nX-Age: old", 404),
        (r#"[["http_x_age","<","100"]]"#, b" HTTP/1.1\r\nX-Age: 99", 200),
        (r#"[["http_x_age","<","99"]]"#, b" HTTP/1.1\r\nX-Age: 100", 404),
        (r#"[["http_x_age","<=",18]]"#, b" HTTP/1.1\r\nX-Age: 18.0", 200),
        (r#"[["http_x_age","<=",18]]"#, b" HTTP/1.1", 404),
        (r#"[["cookie_id","~~","^[0-9]+$"]]"#, b" HTTP/1.1\r\nCookie: a=b; id=42", 200),
        (r#"[["cookie_id","~~","^[0-9]+$"]]"#, b" HTTP/1.1\r\nCookie: a=b; id=x", 404),
        (r#"[["http_x","~*","^ADMIN"]]"#, b" HTTP/1.1\r\nX: administrator", 200),
        (r#"[["http_x","!","~*","^ADMIN"]]"#, b" HTTP/1.1\r\nX: administrator", 404),
        (r#"[["request_method","IN",["GET","PUT"]]]"#, b" HTTP/1.1", 200),
        (r#"[["request_method","in",["POST","PUT"]]]"#, b" HTTP/1.1", 404),
        (r#"[["http_x_tag","has","b"]]"#, b" HTTP/1.1\r\nX-Tag: a\r\nX-Tag: b", 200),
        (r#"[["http_x_tag","has","b"]]"#, b" HTTP/1.1\r\nX-Tag: ab", 404),
        (r#"[["remote_addr","ipmatch","127.0.0.0/8"]]"#, b" HTTP/1.1", 200),
        (r#"[["remote_addr","ipmatch",["10.0.0.0/8"]]]"#, b" HTTP/1.1", 404),
        (r#"["OR",["arg_v","1"],["!AND",["arg_w","1"],["arg_w","2"]]]"#, b"?w=1 HTTP/1.1", 200),
        (r#"["!OR",["arg_v","1"],["arg_w","1"]]"#, b"?w=1 HTTP/1.1", 404),
    ]);
}

fn no_spelling_gets_around_a_condition() {
    let blocked = r#"[["cookie_blocked","==","1"]]"#;
    let admin = r#"[["arg_role","==","admin"]]"#;
    statuses(&[
        (blocked, b" HTTP/1.1\r\nCookie: blocked=1; x=\xe9", 200),
        (blocked, b" HTTP/1.1\r\nCookie: x=\xe9\r\nCookie: blocked=1", 200),
        (admin, b"?role=%61dmin HTTP/1.1", 200),
        (admin, b"?%72ole=%61%64%6d%69%6e HTTP/1.1", 200),
        (r#"[["arg_role","==","an admin"]]"#, b"?role=an+admin HTTP/1.1", 200),
        (r#"[["http_x","==","\ufffd"]]"#, b" HTTP/1.1\r\nX: \xe9", 404),
        (r#"[["http_x","~~","^\\xe9$"]]"#, b" HTTP/1.1\r\nX: \xe9", 200),
        (r#"[["http_user_agent","~~","bot"]]"#, b" HTTP/1.1\r\nUser-Agent: a\r\nUser-Agent: bot", 200),
    ]);
}

fn the_host_of_http2_is_a_header_too() {
    let gateway = Gateway::routes(
        r#"[{ uri: /*, vars: [["http_host","==","a.example"]], upstream: { nodes: { "builtin:echo": 1 } } }]"#,
    );
    let mut client = Http2::connect(gateway.address);
    for (host, status) in [("a.example", 200), ("b.example", 404)] {
        let request = http::Request::get(format!("http://{host}/")).body(()).unwrap();
        assert_eq!(client.ask(request).unwrap().status(), status, "{host}");
    }
}
