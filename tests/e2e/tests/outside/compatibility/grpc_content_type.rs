//! A content type of gRPC on a request that is not gRPC.

use agentwrit_e2e::Broker;

#[tokio::test]
async fn responds_401_problem_to_request_with_grpc_content_type() {
    let broker = Broker::start().await;
    for content_type in ["application/grpc", "application/grpc+proto", "application/grpc-web"] {
        for te in ["trailers", ""] {
            let request = broker.post("/v1/revoke").header("content-type", content_type).header("te", te);
            let answer = request.body("{}").await;
            answer.refused(401, "unauthorized", "a Bearer token is required");
            assert_eq!(answer.header("grpc-status"), None);
        }
    }
}
