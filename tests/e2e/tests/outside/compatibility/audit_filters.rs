//! Filters and limits of the audit trail as clients of AgentWrit v2 send them.

use agentwrit_e2e::Broker;

const FOREIGN: [&str; 4] = [
    "spiffe://example.com/agent/crawler",
    "spiffe://example.com",
    "spiffe://agentwrit.local/agent/o/t",
    "spiffe://agentwrit.local/ns/default/sa/web",
];

#[tokio::test]
async fn limit_above_1000_counts_as_1000() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.app_token(&broker.create_app(&admin, "desk", &["read:data:*"]).await).await;
    for (path, token) in [("/v1/audit/events", &admin), ("/v1/app/audit/events", &app)] {
        for limit in ["1001", "10000", "18446744073709551616"] {
            let answer = broker.get(&format!("{path}?limit={limit}")).bearer(token).await;
            assert_eq!((answer.status, &answer.json()["limit"]), (200, &1000.into()), "{path} {limit}");
        }
        for limit in ["0", "-1", "x"] {
            let answer = broker.get(&format!("{path}?limit={limit}")).bearer(token).await;
            answer.refused_for(400, "invalid_request", "limit");
        }
    }
    assert_eq!(broker.awrit(&["audit", "events", "--limit", "10000"]).await.code, 0);
}

#[tokio::test]
async fn spiffe_id_that_names_no_agent_matches_nothing() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.app_token(&broker.create_app(&admin, "desk", &["read:data:*"]).await).await;
    for (path, token) in [("/v1/audit/events", &admin), ("/v1/app/audit/events", &app)] {
        for id in FOREIGN {
            let answer = broker.get(&format!("{path}?agent_id={id}")).bearer(token).await;
            let body = answer.json();
            assert_eq!((answer.status, &body["total"]), (200, &0.into()), "{path} {id}");
            assert_eq!(body["events"].as_array().map(Vec::len), Some(0), "{path} {id}");
        }
        for id in ["spiffe://", "spiffe://example.com/", "spiffe://example.com/../x", "https://example.com/agent"] {
            let answer = broker.get(&format!("{path}?agent_id={id}")).bearer(token).await;
            answer.refused_for(400, "invalid_request", "agent_id");
        }
    }
    for id in FOREIGN {
        broker.awrit(&["audit", "events", "--agent-id", id]).await.is(0, "No event matches.", "");
    }
    assert_eq!(broker.awrit(&["audit", "events", "--agent-id", "crawler"]).await.code, 2);
}
