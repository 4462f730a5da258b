// Package verify checks AgentWrit's tokens offline, with the standard library only.
//
//  1. Keys come from the broker's /.well-known/jwks.json and from nowhere else.
//  2. Verify says that the broker signed the token, for us, and that its time is now. It knows nothing of revocation.
//  3. Revocations.Judge says whether the token has been revoked or released since. Skip it, and a released token works
//     until it expires.
//  4. Covers says whether the token allows what is asked.
//
// What it leaves out: it doesn't verify the records of a delegation chain by themselves (the signature over the token
// covers them, so that this matters only if the broker errs), it doesn't look at the shape of ids, and it doesn't look for
// keys of small order in the key set, which is the broker's own. docs/verifying-elsewhere.md has all the rules.
package verify

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	maxToken = 8192
	// How far the broker's clock may be ahead of ours. There is no such leeway for the end of a token's life.
	leeway = 5
)

// KeySet holds the broker's public keys by their id.
type KeySet map[string]ed25519.PublicKey

// ANCHOR: keys

// FetchKeys gets the key set. Keep it for the five minutes that Cache-Control allows; when a token names an unknown key,
// fetch it again, but not more often than every few seconds.
func FetchKeys(client *http.Client, brokerURL string) (KeySet, error) {
	body, err := get(client, brokerURL+"/.well-known/jwks.json")
	if err != nil {
		return nil, err
	}
	return ParseKeys(body)
}

// ParseKeys reads a key set (RFC 7517) and passes over keys of other kinds.
func ParseKeys(data []byte) (KeySet, error) {
	var set struct {
		Keys []struct{ Kty, Crv, Kid, X string }
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("not a key set: %w", err)
	}
	keys := KeySet{}
	for _, key := range set.Keys {
		if key.Kty != "OKP" || key.Crv != "Ed25519" {
			continue
		}
		x, err := decode(key.X)
		if err != nil || len(x) != ed25519.PublicKeySize || key.Kid == "" || keys[key.Kid] != nil {
			return nil, fmt.Errorf("the key `%s` is malformed or there twice", key.Kid)
		}
		keys[key.Kid] = x
	}
	if len(keys) == 0 {
		return nil, errors.New("the key set holds no Ed25519 key")
	}
	return keys, nil
}

// ANCHOR_END: keys

// Verifier accepts the tokens of one issuer. Without an Audience it accepts only tokens that name none.
type Verifier struct {
	Issuer, Audience string
	Keys             KeySet
}

// ANCHOR: verify

// Verify checks everything but revocation.
func (v Verifier) Verify(token string, now time.Time) (Claims, error) {
	if len(token) > maxToken {
		return Claims{}, errors.New("too long")
	}
	payload, err := v.Keys.open(token, func(typ string) bool {
		return typ == "" || strings.EqualFold(typ, "JWT") || strings.EqualFold(typ, "at+jwt")
	})
	if err != nil {
		return Claims{}, err
	}
	claims, err := readClaims(payload)
	switch {
	case err != nil:
		return Claims{}, err
	case payload["iss"] != v.Issuer:
		return Claims{}, errors.New("another issuer's")
	case v.Audience == "" && len(claims.Audience) > 0, v.Audience != "" && !contains(claims.Audience, v.Audience):
		return Claims{}, errors.New("token for another audience")
	case claims.NotBefore > now.Unix()+leeway, claims.IssuedAt > now.Unix()+leeway:
		return Claims{}, errors.New("not valid yet")
	case claims.ExpiresAt <= now.Unix():
		return Claims{}, errors.New("expired")
	}
	return claims, nil
}

// ANCHOR_END: verify

// ANCHOR: covers

// Covers says whether one of the scopes allows the wanted one: the same, or `action:resource:*`. A scope is split at its
// first two colons: an identifier may hold colons.
func Covers(granted []string, wanted string) bool {
	parts := strings.SplitN(wanted, ":", 3)
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return false
	}
	return contains(granted, wanted) || contains(granted, parts[0]+":"+parts[1]+":*")
}

// ANCHOR_END: covers

func contains(list []string, wanted string) bool {
	for _, one := range list {
		if one == wanted {
			return true
		}
	}
	return false
}
