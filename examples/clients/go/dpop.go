package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ANCHOR: proof

// Key is the key of an agent whose tokens are bound to it (DPoP, RFC 9449): a copy of the token is of no use without it.
type Key struct {
	private ed25519.PrivateKey
	nonces  map[string]string
}

// NewKey makes a key.
func NewKey() (*Key, error) {
	_, private, err := ed25519.GenerateKey(nil)
	return &Key{private, map[string]string{}}, err
}

func (k *Key) public() ed25519.PublicKey { return k.private.Public().(ed25519.PublicKey) }

// Proof signs a proof for this method, this URL and this token. A server accepts it once, for a minute.
func (k *Key) Proof(method string, target *url.URL, token string) (string, error) {
	jti := make([]byte, 16)
	if _, err := rand.Read(jti); err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	jwk := map[string]string{"kty": "OKP", "crv": "Ed25519", "x": encode(k.public())}
	hash := sha256.Sum256([]byte(token))
	claims := map[string]any{
		"jti": encode(jti),
		"htm": method,
		"htu": target.Scheme + "://" + target.Host + target.EscapedPath(),
		"iat": time.Now().Unix(),
		"ath": encode(hash[:]),
	}
	if nonce := k.nonces[target.Host]; nonce != "" {
		claims["nonce"] = nonce
	}
	header, err := json.Marshal(map[string]any{"typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk})
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed := encode(header) + "." + encode(payload)
	return signed + "." + encode(ed25519.Sign(k.private, []byte(signed))), nil
}

// Send sends a request with the token and a proof; once more, if the server wants its nonce signed (RFC 9449 §9).
func (k *Key) Send(client *http.Client, method, target, token string, body any) (*http.Response, []byte, error) {
	for attempt := 0; ; attempt++ {
		var content io.Reader
		if body != nil {
			encoded, err := json.Marshal(body)
			if err != nil {
				return nil, nil, err
			}
			content = bytes.NewReader(encoded)
		}
		request, err := http.NewRequest(method, target, content)
		if err != nil {
			return nil, nil, err
		}
		proof, err := k.Proof(method, request.URL, token)
		if err != nil {
			return nil, nil, err
		}
		request.Header.Set("Authorization", "DPoP "+token)
		request.Header.Set("DPoP", proof)
		if body != nil {
			request.Header.Set("Content-Type", "application/json")
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot reach the server: %w", err)
		}
		data, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
		response.Body.Close()
		if err != nil {
			return nil, nil, fmt.Errorf("the response broke off: %w", err)
		}
		if nonce := response.Header.Get("DPoP-Nonce"); nonce != "" {
			k.nonces[request.URL.Host] = nonce
		}
		challenge := strings.Join(response.Header.Values("WWW-Authenticate"), ", ")
		if attempt > 0 || response.StatusCode != http.StatusUnauthorized || !strings.Contains(challenge, "use_dpop_nonce") {
			return response, data, nil
		}
	}
}

// ANCHOR_END: proof

// ANCHOR: register_bound

// RegisterBound registers an agent whose tokens are bound to its key: the member sender_constrained.
func (b *Broker) RegisterBound(launchToken, orchID, taskID string, scope []string, key *Key) (*Agent, error) {
	var challenge struct {
		Nonce string `json:"nonce"`
	}
	if err := b.call(http.MethodGet, "/v1/challenge", "", nil, &challenge); err != nil {
		return nil, err
	}
	nonce, err := hex.DecodeString(challenge.Nonce)
	if err != nil {
		return nil, fmt.Errorf("the nonce is not hexadecimal: %w", err)
	}
	var registered struct {
		Agent
		TokenType string `json:"token_type"`
	}
	registered.broker = b
	err = b.call(http.MethodPost, "/v1/register", "", map[string]any{
		"launch_token":       launchToken,
		"nonce":              challenge.Nonce,
		"public_key":         base64.StdEncoding.EncodeToString(key.public()),
		"signature":          base64.StdEncoding.EncodeToString(ed25519.Sign(key.private, nonce)),
		"orch_id":            orchID,
		"task_id":            taskID,
		"requested_scope":    scope,
		"sender_constrained": true,
	}, &registered)
	if err == nil && registered.TokenType != "DPoP" {
		err = fmt.Errorf("the broker does not bind tokens")
	}
	return &registered.Agent, err
}

// ANCHOR_END: register_bound

// withProofs tells the story of two agents whose tokens are bound to their keys.
func withProofs(broker *Broker, appToken, service string) error {
	record := strings.TrimRight(service, "/") + "/records/P-1"
	scope := []string{"read:records:P-1"}
	admit := func(name string) (*Agent, *Key, error) {
		key, err := NewKey()
		if err != nil {
			return nil, nil, err
		}
		launchToken, err := broker.LaunchToken(appToken, name, scope)
		if err != nil {
			return nil, nil, fmt.Errorf("launching the %s: %w", name, err)
		}
		agent, err := broker.RegisterBound(launchToken, "demo", name, scope, key)
		if err != nil {
			return nil, nil, fmt.Errorf("registering the %s: %w", name, err)
		}
		fmt.Printf("registered: %s, DPoP\n", agent.ID)
		return agent, key, nil
	}
	lead, leadKey, err := admit("lead")
	if err != nil {
		return err
	}
	helper, helperKey, err := admit("helper")
	if err != nil {
		return err
	}
	read := func(who string, key *Key, token string) error {
		response, _, err := key.Send(broker.HTTP, http.MethodGet, record, token, nil)
		if err == nil {
			fmt.Printf("%s: %d\n", who, response.StatusCode)
		}
		return err
	}
	// ask sends a request to the broker and reads the access token of its response, if there is one.
	ask := func(key *Key, path, token string, body any) (string, error) {
		response, data, err := key.Send(broker.HTTP, http.MethodPost, broker.URL+path, token, body)
		if err != nil {
			return "", err
		}
		if response.StatusCode > 299 {
			return "", problemOf(response, data)
		}
		var answer struct {
			AccessToken string `json:"access_token"`
		}
		if len(data) > 0 {
			err = json.Unmarshal(data, &answer)
		}
		return answer.AccessToken, err
	}

	if err := read("lead", leadKey, lead.Token); err != nil {
		return err
	}
	stolen, err := http.NewRequest(http.MethodGet, record, nil)
	if err != nil {
		return err
	}
	stolen.Header.Set("Authorization", "Bearer "+lead.Token)
	response, err := broker.HTTP.Do(stolen)
	if err != nil {
		return err
	}
	response.Body.Close()
	fmt.Printf("the token alone: %d\n", response.StatusCode)

	// The delegated token is bound to the helper's key: the lead carries it, and can't use it.
	delegation := map[string]any{"delegate_to": helper.ID, "scope": scope, "ttl": 60}
	delegated, err := ask(leadKey, "/v1/delegate", lead.Token, delegation)
	if err != nil {
		return fmt.Errorf("delegating: %w", err)
	}
	if err := read("helper", helperKey, delegated); err != nil {
		return err
	}
	if err := read("lead with the helper's token", leadKey, delegated); err != nil {
		return err
	}
	renewed, err := ask(leadKey, "/v1/token/renew", lead.Token, nil)
	if err != nil {
		return fmt.Errorf("renewing: %w", err)
	}
	if err := read("renewed", leadKey, renewed); err != nil {
		return err
	}
	if _, err := ask(leadKey, "/v1/token/release", renewed, nil); err != nil {
		return fmt.Errorf("releasing: %w", err)
	}
	if _, err := ask(helperKey, "/v1/token/release", helper.Token, nil); err != nil {
		return fmt.Errorf("releasing: %w", err)
	}
	fmt.Println("released")
	return nil
}
