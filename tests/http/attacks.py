# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bad requests, byte by byte: the one table that the daemon must refuse and that bare SoupServer is shown.

A row is (name, bytes, status, code): the daemon answers with that status and a problem of that code. Rows
without are cut off, or have a body that is not framed as it should be: the connection is closed, and nothing
was done. Each is followed by the end of what the client sends.
"""
HOST = "Host: localhost\r\n"
JSON = HOST + "Content-Type: application/json\r\n"


def get(target="/v1/vms", head="", host=HOST, method="GET", version="HTTP/1.1"):
    return f"{method} {target} {version}\r\n{host}{head}\r\n"


def post(head, body="", target="/v1/vms"):
    return f"POST {target} HTTP/1.1\r\n{JSON}{head}\r\n{body}"


def chunked(body, head=""):
    return post("Transfer-Encoding: chunked\r\n" + head, body)


# What a browser or a proxy leaves in a head. Each is refused, whatever its value is.
MARKS = [
    "Origin", "Referer", "Forwarded", "Via", "Cookie",
    "X-Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port",
    "X-Forwarded-Server", "X-Forwarded-Prefix", "X-Real-IP", "X-Client-IP", "True-Client-IP",
    "X-Cluster-Client-IP", "X-Original-URL", "X-Original-Host", "X-Rewrite-URL", "X-Envoy-External-Address",
    "CF-Connecting-IP", "CDN-Loop", "Proxy-Connection", "Proxy-Authorization",
    "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Fetch-User", "sec-fetch-mode", "SEC-FETCH-SITE",
    "Sec-CH-UA", "Upgrade-Insecure-Requests", "Access-Control-Request-Method",
    "Access-Control-Request-Private-Network",
    "Tailscale-User-Login", "Tailscale-User-Name", "Tailscale-User-Profile-Pic", "Tailscale-Headers-Info",
]

TARGETS = [
    ("root", get("/"), 404, "not-found"),
    ("prefix of a path", get("/v1beta/vms"), 404, "not-found"),
    ("path behind a path", get("/v1/vmsx"), 404, "not-found"),
    ("upper case", get("/V1/VMS"), 404, "not-found"),
    ("slash at the end", get("/v1/vms/"), 404, "not-found"),
    ("two slashes first", get("//v1/vms"), 404, "not-found"),
    ("two slashes", get("/v1//vms"), 404, "not-found"),
    ("dot segment", get("/v1/./vms"), 404, "not-found"),
    ("dot segments", get("/v1/x/../vms"), 404, "not-found"),
    ("dot segments that leave the root", get("/v1/../../etc"), 404, "not-found"),
    ("encoded dots", get("/v1/vms/%2e%2e"), 404, "not-found"),
    ("encoded dots and a slash", get("/v1/vms/%2e%2e%2fsystem"), 404, "vm-not-found"),
    ("encoded slash stays in its segment", get("/v1%2Fvms"), 404, "not-found"),
    ("encoded slash in a name", get("/v1/vms/a%2Flogs"), 404, "vm-not-found"),
    ("encoded twice", get("/v1/vms/a%252Flogs"), 404, "vm-not-found"),
    ("backslash", get("/v1\\vms"), 404, "not-found"),
    ("encoded backslash", get("/v1/vms/..%5c..%5c"), 404, "vm-not-found"),
    ("encoded NUL", get("/v1/vms/a%00b"), 404, "not-found"),
    ("%ff", get("/v1/vms/%ff"), 404, "not-found"),
    ("overlong UTF-8", get("/v1/vms/%c0%ae"), 404, "not-found"),
    ("half a surrogate pair", get("/v1/vms/%ed%a0%80"), 404, "not-found"),
    ("semicolon parameter", get("/v1/vms;x=1"), 404, "not-found"),
    ("fragment", get("/v1/vms#x"), 400, "request-invalid"),
    ("unknown verb", get("/v1/vms/a:fly", method="POST"), 404, "not-found"),
    ("encoded colon is no verb", get("/v1/vms/a%3Astart", method="POST"), 405, "method-not-allowed"),
    ("verb where none fits", get("/v1/system:start"), 404, "not-found"),
    ("deep path", get("/a" * 100), 404, "not-found"),
    ("a long target", get("/v1/" + "x" * 5000), 400, "request-invalid"),
    ("a long query", get("/v1/vms?" + "x" * 5000), 400, "request-invalid"),
    ("unknown parameter", get("/v1/vms?x=1"), 422, "field-unknown"),
    ("parameter of another route", get("/v1/vms?wait=1"), 422, "field-unknown"),
    ("parameter twice", get("/v1/operations/x?wait=1&wait=1"), 422, "field-invalid"),
    ("parameter twice, once encoded", get("/v1/operations/x?wait=1&%77ait=1"), 422, "field-invalid"),
    ("negative parameter", get("/v1/operations/x?wait=-1"), 422, "field-invalid"),
    ("parameter beyond its range", get("/v1/operations/x?wait=61"), 422, "field-invalid"),
    ("parameter of 2^64", get("/v1/operations/x?wait=18446744073709551616"), 422, "field-invalid"),
    ("parameter with an exponent", get("/v1/operations/x?wait=1e1"), 422, "field-invalid"),
    ("query without names", get("/v1/vms?=1"), 422, "field-unknown"),
    ("query that is no UTF-8", get("/v1/operations/x?wait=%ff"), 400, "request-invalid"),
    ("query with NUL", get("/v1/operations/x?wait=1%00"), 400, "request-invalid"),
    ("broken percent sign in the query", get("/v1/operations/x?wait=%zz"), 400, "request-invalid"),
]

METHODS = [
    ("TRACE", get(method="TRACE"), 405, "method-not-allowed"),
    ("CONNECT a path", get(method="CONNECT"), 405, "method-not-allowed"),
    ("CONNECT an authority", get("localhost:80", method="CONNECT"), 405, "method-not-allowed"),
    ("OPTIONS *", get("*", method="OPTIONS"), 404, "not-found"),
    ("OPTIONS of a path", get(method="OPTIONS"), 405, "method-not-allowed"),
    ("GET *", get("*"), 400, "request-invalid"),
    ("PUT", get(method="PUT", head="Content-Length: 0\r\n"), 405, "method-not-allowed"),
    ("DELETE of the list", get(method="DELETE"), 405, "method-not-allowed"),
    ("lower case", get(method="get"), 405, "method-not-allowed"),
    ("PROPFIND", get(method="PROPFIND"), 405, "method-not-allowed"),
    ("a long method", get(method="M" * 2000), 400, "request-invalid"),
    ("PRI", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "request-invalid"),
    ("HTTP/9.9", get(version="HTTP/9.9"), 400, "request-invalid"),
    ("HTTP/0.9", "GET /v1/vms\r\n\r\n", 400, "request-invalid"),
    ("HTTP/1.0 without a Host", get(host="", version="HTTP/1.0"), 400, "request-invalid"),
]

HOSTS = [
    ("no Host", get(host=""), 400, "request-invalid"),
    ("two Hosts", get(host="Host: localhost\r\nHost: localhost\r\n"), 400, "request-invalid"),
    ("two different Hosts", get(host="Host: a\r\nHost: b\r\n"), 400, "request-invalid"),
    ("Host with userinfo", get(host="Host: root@localhost\r\n"), 400, "request-invalid"),
    ("Host with a password", get(host="Host: root:secret@localhost\r\n"), 400, "request-invalid"),
    ("Host with a path", get(host="Host: localhost/v1/system?\r\n"), 400, "request-invalid"),
    ("Host with a query", get(host="Host: localhost?x=\r\n"), 400, "request-invalid"),
    ("Host with a fragment", get(host="Host: localhost#\r\n"), 400, "request-invalid"),
    ("Host with a backslash", get(host="Host: localhost\\\r\n"), 400, "request-invalid"),
    ("Host with a space", get(host="Host: local host\r\n"), 400, "request-invalid"),
    ("Host with a percent sign", get(host="Host: local%68ost\r\n"), 400, "request-invalid"),
    ("Host with two ports", get(host="Host: localhost:1:2\r\n"), 400, "request-invalid"),
    ("Host with a port beyond 65535", get(host="Host: localhost:99999\r\n"), 400, "request-invalid"),
    ("Host of another machine", get(host="Host: tenbox.example.com\r\n"), 421, "host-not-allowed"),
    ("Host with an address", get(host="Host: 192.0.2.1:8080\r\n"), 421, "host-not-allowed"),
    ("Host with a dot at its end", get(host="Host: localhost.\r\n"), 421, "host-not-allowed"),
    ("a target with another host", get("http://tenbox.example.com/v1/vms"), 400, "request-invalid"),
    ("a target with the name of Host", get("http://localhost/v1/vms"), 400, "request-invalid"),
    ("a target with another name than Host", get("http://other/v1/vms"), 400, "request-invalid"),
    ("a target with userinfo", get("http://root@localhost/v1/vms"), 400, "request-invalid"),
    ("a target of another scheme", get("ftp://localhost/v1/vms"), 400, "request-invalid"),
    ("a target that is a file", get("file:///etc/passwd"), 400, "request-invalid"),
    ("a target without a slash", get("v1/vms"), 400, "request-invalid"),
]

FRAMING = [
    ("length and encoding", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                                 "0\r\n\r\nGET /v1/system HTTP/1.1\r\nHost: x\r\n\r\n"), 400, "request-invalid"),
    ("encoding and length", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), 400,
     "request-invalid"),
    ("two lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"), 400, "request-invalid"),
    ("two equal lengths", post("Content-Length: 2\r\nContent-Length: 2\r\n", "{}"), 400, "request-invalid"),
    ("two lengths in one field", post("Content-Length: 2, 2\r\n", "{}"), 400, "request-invalid"),
    ("negative length", post("Content-Length: -5\r\n"), 400, "request-invalid"),
    ("length with a sign", post("Content-Length: +5\r\n"), 400, "request-invalid"),
    ("empty length", post("Content-Length: \r\n"), 400, "request-invalid"),
    ("length with a space", post("Content-Length: 1 2\r\n", "{}"), 400, "request-invalid"),
    ("length in hexadecimal", post("Content-Length: 0x5\r\n"), 400, "request-invalid"),
    ("length of 2^64 + 2", post("Content-Length: 18446744073709551618\r\n", "{}"), 400, "request-invalid"),
    ("length of 2^80", post("Content-Length: 1208925819614629174706176\r\n"), 400, "request-invalid"),
    ("length of 10 MiB, no body sent", post("Content-Length: 10485760\r\n"), 413, "body-too-large"),
    ("length of 1 MiB and one byte", post("Content-Length: 1048577\r\n"), 413, "body-too-large"),
    ("an expectation nobody knows", post("Content-Length: 2\r\nExpect: the best\r\n", "{}"), 400,
     "request-invalid"),
    ("length of 10 MiB, asked first", post("Content-Length: 10485760\r\nExpect: 100-continue\r\n"), 413,
     "body-too-large"),
    ("encoding gzip", post("Transfer-Encoding: gzip\r\n"), 400, "request-invalid"),
    ("encoding gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 400, "request-invalid"),
    ("chunked twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400, "request-invalid"),
    ("chunked, chunked", post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), 400, "request-invalid"),
    ("encoding xchunked", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 400, "request-invalid"),
    ("encoding identity", post("Transfer-Encoding: identity\r\n", "{}"), 400, "request-invalid"),
    ("encoding in quotes", post('Transfer-Encoding: "chunked"\r\n', "0\r\n\r\n"), 400, "request-invalid"),
    ("chunked in HTTP/1.0", f"POST /v1/vms HTTP/1.0\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     400, "request-invalid"),
    ("body of a GET", get(head="Content-Length: 2\r\n") + "{}", 400, "request-invalid"),
    ("chunked body of a GET", get(head="Transfer-Encoding: chunked\r\n") + "2\r\n{}\r\n0\r\n\r\n", 400,
     "request-invalid"),
    ("body in gzip", post("Content-Encoding: gzip\r\nContent-Length: 2\r\n", "{}"), 400, "request-invalid"),
    ("negative chunk", chunked("-1\r\nx\r\n0\r\n\r\n"), None, None),
    ("chunk of 2^68", chunked("100000000000000000\r\nx\r\n0\r\n\r\n"), None, None),
    ("chunk of 2^63", chunked("8000000000000000\r\nx\r\n0\r\n\r\n"), None, None),
    ("chunk without a size", chunked("\r\nx\r\n0\r\n\r\n"), None, None),
    ("chunk of no number", chunked("zz\r\nx\r\n0\r\n\r\n"), None, None),
    ("chunk in 0x", chunked("0x2\r\n{}\r\n0\r\n\r\n"), None, None),
    ("chunk longer than said", chunked("1\r\n{}\r\n0\r\n\r\n"), None, None),
    ("long chunk extension", chunked("2;" + "x" * 100000 + "\r\n{}\r\n0\r\n\r\n"), None, None),
    ("megabytes of trailers", chunked("2\r\n{}\r\n0\r\n" + "X: y\r\n" * 1000000 + "\r\n"), None, None),
]

HEADS = [
    ("65 fields", get(head="".join(f"X-{i}: 1\r\n" for i in range(64))), 400, "request-invalid"),
    ("6,000 fields", get(head="".join(f"X-{i}: 1\r\n" for i in range(6000))), 400, "request-invalid"),
    ("17 KiB of fields", get(head=f"X-Long: {'x' * 17000}\r\n"), 400, "request-invalid"),
    ("1 MiB of fields", get(head=f"X-Long: {'x' * 1048576}\r\n"), 400, "request-invalid"),
    ("a field without a colon", get(head="X-Nothing\r\n"), 400, "request-invalid"),
    ("a field without a name", get(head=": x\r\n"), 400, "request-invalid"),
    ("a field on two lines", get(head="X-A: a\r\n b\r\n"), 400, "request-invalid"),
    ("a space before the colon", post("Content-Length : 2\r\n", "{}"), 400, "request-invalid"),
    ("NUL in a field", get(head="X-A: a\0b\r\n"), 400, "request-invalid"),
    ("lines that end in LF", get().replace("\r\n", "\n"), 400, "request-invalid"),
    ("CR within a field", get(head="X-A: a\rOrigin: x\r\n"), 400, "request-invalid"),
    ("no end of the first line", "GET /v1/vms", None, None),
    ("no end of the head", get()[:-2], None, None),
    ("two spaces", "GET  /v1/vms HTTP/1.1\r\n" + HOST + "\r\n", 400, "request-invalid"),
    ("nothing but lines", "\r\n\r\n\r\n\r\n", 400, "request-invalid"),
    ("TLS", "\x16\x03\x01\x02\x00\x01\x00", 400, "request-invalid"),
    ("zeros", "\0" * 5000 + "\r\n\r\n", 400, "request-invalid"),
    ("200,000 letters", "A" * 200000 + "\r\n\r\n", 400, "request-invalid"),
    ("HTTP/1.1 and nothing else", "GET\r\n\r\n", 400, "request-invalid"),
    ("half a body", post("Content-Length: 50\r\n", "abc"), None, None),
    ("half a chunk", chunked("50\r\nabc"), None, None),
    ("an answer", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 400, "request-invalid"),
]

TYPES = [
    ("no content type", f"POST /v1/vms HTTP/1.1\r\n{HOST}Content-Length: 2\r\n\r\n{{}}", 400, "request-invalid"),
    ("two content types", post("Content-Type: application/json\r\nContent-Length: 2\r\n", "{}"), 400,
     "request-invalid"),
    ("text", f"POST /v1/vms HTTP/1.1\r\n{HOST}Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}", 400,
     "request-invalid"),
    ("a form", f"POST /v1/vms HTTP/1.1\r\n{HOST}Content-Type: application/x-www-form-urlencoded\r\n"
     "Content-Length: 6\r\n\r\nname=a", 400, "request-invalid"),
    ("a merge patch where none fits", f"POST /v1/vms HTTP/1.1\r\n{HOST}Content-Type: "
     "application/merge-patch+json\r\nContent-Length: 2\r\n\r\n{}", 400, "request-invalid"),
    ("another charset", f"POST /v1/vms HTTP/1.1\r\n{HOST}Content-Type: application/json; charset=utf-16\r\n"
     "Content-Length: 2\r\n\r\n{}", 400, "request-invalid"),
    ("no body", post("Content-Length: 0\r\n"), 400, "json-invalid"),
    ("an array", post("Content-Length: 2\r\n", "[]"), 400, "json-invalid"),
]

ROWS = TARGETS + METHODS + HOSTS + FRAMING + HEADS + TYPES + [
    (f"mark of a browser or proxy: {mark}", get(head=f"{mark}: x\r\n"), 403, "forbidden") for mark in MARKS]
