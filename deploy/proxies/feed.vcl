# Varnish (7.1 or later) as a mirror of the revocation feed and the key set: any number of services follow the mirror, and the broker
# answers it alone. docs/operators/mirrors.md
#
#   varnishd -C -f "$PWD/deploy/proxies/feed.vcl"          checks it
#   varnishd -a :6081 -f /etc/varnish/feed.vcl -s malloc,256m
#
# 1. Requests that wait for the same cursor are one request to the broker: all are answered with its response.
# 2. A response is kept for 0.2 s, the most by which this mirror delays a revocation. Services pace themselves in that time.
# 3. Nothing is served after that (`grace`, `keep`): services notice an outage of the broker by the age of what is signed.
# 4. Reports of services pass to the broker. Everything else is refused: agents and operators don't go through the mirror.
vcl 4.1;

backend broker {
    .host = "127.0.0.1";
    .port = "8080";
    .connect_timeout = 1s;
    # The broker holds a request of the feed for 25 seconds at most.
    .first_byte_timeout = 35s;
}

sub vcl_recv {
    if (req.method == "POST" && req.url == "/v1/verifiers/reports") {
        return (pass);
    }
    if (req.method != "GET") {
        return (synth(405));
    }
    if (req.url !~ "^/(\.well-known/jwks\.json|v1/revocations)(\?[a-z0-9=&]{1,64})?$") {
        return (synth(404));
    }
    # The feed and the key set are the same for all clients.
    unset req.http.Authorization;
    unset req.http.Cookie;
    return (hash);
}

sub vcl_backend_response {
    set beresp.grace = 0s;
    set beresp.keep = 0s;
    if (beresp.status == 200) {
        # The feed is `no-store` for caches without a rule of their own.
        set beresp.ttl = 0.2s;
        set beresp.uncacheable = false;
        return (deliver);
    }
    set beresp.ttl = 0s;
    set beresp.uncacheable = true;
    return (deliver);
}
