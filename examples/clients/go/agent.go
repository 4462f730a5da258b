package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
)

// Agent is a registered agent and the token that it holds now.
type Agent struct {
	ID        string `json:"agent_id"`
	Token     string `json:"access_token"`
	ExpiresIn int    `json:"expires_in"`

	broker *Broker
}

// ANCHOR: app_auth

// LogIn gives the app's own token, with which it lets agents in. It lasts half an hour: keep it, don't log in each time.
func (b *Broker) LogIn(clientID, clientSecret string) (string, error) {
	credentials := map[string]string{"client_id": clientID, "client_secret": clientSecret}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	err := b.call(http.MethodPost, "/v1/app/auth", "", credentials, &answer)
	return answer.AccessToken, err
}

// ANCHOR_END: app_auth

// ANCHOR: launch_token

// LaunchToken lets one agent register, within 30 seconds and with no more than this scope.
func (b *Broker) LaunchToken(appToken, agentName string, allowed []string) (string, error) {
	wanted := map[string]any{"agent_name": agentName, "allowed_scope": allowed, "max_ttl": 300}
	var answer struct {
		LaunchToken string `json:"launch_token"`
	}
	err := b.call(http.MethodPost, "/v1/app/launch-tokens", appToken, wanted, &answer)
	return answer.LaunchToken, err
}

// ANCHOR_END: launch_token

// ANCHOR: register

// Register makes a key, proves to hold it, and gives the agent with its first token.
func (b *Broker) Register(launchToken, orchID, taskID string, scope []string) (*Agent, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	var challenge struct {
		Nonce string `json:"nonce"`
	}
	if err := b.call(http.MethodGet, "/v1/challenge", "", nil, &challenge); err != nil {
		return nil, err
	}
	// What is signed is the nonce's 32 bytes, not their hexadecimal text.
	nonce, err := hex.DecodeString(challenge.Nonce)
	if err != nil {
		return nil, fmt.Errorf("the nonce is no hexadecimal text: %w", err)
	}
	agent := &Agent{broker: b}
	err = b.call(http.MethodPost, "/v1/register", "", map[string]any{
		"launch_token":    launchToken,
		"nonce":           challenge.Nonce,
		"public_key":      base64.StdEncoding.EncodeToString(public), // the raw 32 bytes, no DER
		"signature":       base64.StdEncoding.EncodeToString(ed25519.Sign(private, nonce)),
		"orch_id":         orchID,
		"task_id":         taskID,
		"requested_scope": scope,
	}, agent)
	return agent, err
}

// ANCHOR_END: register

// ANCHOR: renew

// Renew replaces the token by one with the same scope and lifetime. The old one ends at once: each user of it must
// be told. If the answer is lost on its way, register anew.
func (a *Agent) Renew() error {
	return a.broker.call(http.MethodPost, "/v1/token/renew", a.Token, nil, a)
}

// ANCHOR_END: renew

// ANCHOR: release

// Release ends the token before its time, when the task is done. Releasing it twice is no error.
func (a *Agent) Release() error {
	return a.broker.call(http.MethodPost, "/v1/token/release", a.Token, nil, nil)
}

// ANCHOR_END: release

// Delegation is a token for another agent, cut out of one's own.
type Delegation struct {
	Token     string `json:"access_token"`
	ExpiresIn int    `json:"expires_in"`
	Chain     []struct {
		Agent string `json:"agent"`
	} `json:"delegation_chain"`
}

// ANCHOR: delegate

// Delegate hands part of the scope, or all of it, to another registered agent for some seconds.
func (a *Agent) Delegate(to string, scope []string, seconds int) (*Delegation, error) {
	wanted := map[string]any{"delegate_to": to, "scope": scope, "ttl": seconds}
	delegation := new(Delegation)
	err := a.broker.call(http.MethodPost, "/v1/delegate", a.Token, wanted, delegation)
	return delegation, err
}

// ANCHOR_END: delegate

// Validity is what the broker says about a token.
type Validity struct {
	Valid  bool `json:"valid"`
	Claims struct {
		Subject string   `json:"sub"`
		Scope   []string `json:"scope"`
		// Confirmation names the key that the token is bound to.
		Confirmation json.RawMessage `json:"cnf"`
	} `json:"claims"`
}

// ANCHOR: validate

// Validate asks the broker about a token, as a service does that doesn't verify by itself. An invalid token is no error.
// A token that is bound to a key counts as invalid: without a proof, which is not checked here, it must be rejected
// (RFC 9449 §7.2).
func (b *Broker) Validate(token string) (*Validity, error) {
	validity := new(Validity)
	err := b.call(http.MethodPost, "/v1/token/validate", "", map[string]string{"token": token}, validity)
	validity.Valid = validity.Valid && validity.Claims.Confirmation == nil
	return validity, err
}

// ANCHOR_END: validate
