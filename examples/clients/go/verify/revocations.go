package verify

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// MaxStaleness is how old the list may be. When it is older, later revocations are unknown: respond with 503, not 401.
const MaxStaleness = 30 * time.Second

var (
	// ErrRevoked says that the token was revoked or released, or that it was renewed.
	ErrRevoked = errors.New("revoked")
	// ErrStale says that the list is older than MaxStaleness.
	ErrStale = errors.New("the list of revocations is too old")
)

// Revocations is everything that was revoked and has not expired yet, as of AsOf.
type Revocations struct {
	AsOf time.Time

	issuer  string
	entries map[entry]int64 // when it was revoked
}

type entry struct{ level, key string }

// ANCHOR: revocations

// FetchRevocations gets the whole list. A service does so every ten seconds in the background; docs/verifying-elsewhere.md
// says how to follow only what is new, and to hear of it within milliseconds.
func FetchRevocations(client *http.Client, brokerURL, issuer string, keys KeySet, now time.Time) (*Revocations, error) {
	body, err := get(client, brokerURL+"/v1/revocations")
	if err != nil {
		return nil, err
	}
	return ParseRevocations(strings.TrimSpace(string(body)), issuer, keys, now)
}

// ParseRevocations reads the signed list. Never put an older list in the place of a newer one: compare AsOf.
func ParseRevocations(jws, issuer string, keys KeySet, now time.Time) (*Revocations, error) {
	payload, err := keys.open(jws, func(typ string) bool { return typ == "agentwrit-revocations+jwt" })
	if err != nil {
		return nil, fmt.Errorf("revocations: %w", err)
	}
	r := reader{members: payload}
	asOf, expiresAt, from := r.seconds("iat"), r.seconds("exp"), r.seconds("from")
	list := &Revocations{AsOf: time.Unix(asOf, 0), issuer: issuer, entries: map[entry]int64{}}
	for _, value := range r.list("entries", required) {
		level, key, revokedAt, err := readEntry(value)
		if err != nil {
			return nil, err
		}
		list.entries[entry{level, key}] = revokedAt
	}
	switch {
	case r.err != nil:
		return nil, fmt.Errorf("revocations: %w", r.err)
	case payload["iss"] != issuer:
		return nil, errors.New("revocations: another issuer's")
	case from != 0:
		return nil, errors.New("revocations: only what is new, not the whole list")
	case asOf > now.Unix()+leeway:
		return nil, errors.New("revocations: from the future; is this clock right?")
	case expiresAt <= now.Unix():
		return nil, errors.New("revocations: expired")
	}
	return list, nil
}

// ANCHOR_END: revocations

func readEntry(value any) (level, key string, revokedAt int64, err error) {
	list, _ := value.([]any)
	if len(list) != 4 {
		return "", "", 0, errors.New("revocations: a malformed entry")
	}
	r := reader{members: members{"level": list[0], "revoked_at": list[2], "expires_at": list[3]}}
	level, revokedAt = r.text("level", required), r.seconds("revoked_at")
	r.seconds("expires_at")
	key, isText := list[1].(string)
	if r.err != nil || !isText {
		return "", "", 0, errors.New("revocations: a malformed entry")
	}
	// An entry of a kind that we don't know may kill tokens.
	if len(level) != 1 || !strings.Contains("tsakci", level) {
		return "", "", 0, fmt.Errorf("revocations: an entry of the unknown level `%s`", level)
	}
	return level, key, revokedAt, nil
}

// ANCHOR: judge

// Judge says whether the token still stands: nil, ErrRevoked or ErrStale.
func (r *Revocations) Judge(claims Claims, now time.Time) error {
	if now.Add(leeway*time.Second).Sub(r.AsOf) > MaxStaleness {
		return ErrStale
	}
	root := claims.Subject
	if len(claims.Chain) > 0 {
		root = claims.Chain[0].Agent
	}
	dead := r.has("t", claims.ID) || r.has("s", claims.Session) ||
		r.hasSince("a", claims.Subject, claims) || r.hasSince("k", claims.Task, claims) ||
		r.hasSince("c", root, claims) || r.hasSince("i", "", claims)
	for _, delegator := range claims.Chain {
		dead = dead || r.has("s", delegator.Session) || r.hasSince("a", delegator.Agent, claims)
	}
	if dead {
		return ErrRevoked
	}
	return nil
}

// ANCHOR_END: judge

func (r *Revocations) has(level, target string) bool {
	_, found := r.entries[entry{level, r.key(level, target)}]
	return found
}

// hasSince is for marks that kill what was issued until then.
func (r *Revocations) hasSince(level, target string, claims Claims) bool {
	revokedAt, found := r.entries[entry{level, r.key(level, target)}]
	return found && claims.IssuedAt <= revokedAt
}

// key is the digest that stands for a target in the list.
func (r *Revocations) key(level, target string) string {
	if level == "i" {
		return ""
	}
	hash := sha256.Sum256([]byte(level + "\x00" + r.issuer + "\x00" + target))
	return base64.RawURLEncoding.EncodeToString(hash[:16])
}

func get(client *http.Client, url string) ([]byte, error) {
	response, err := client.Get(url)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the broker: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s from %s", response.Status, url)
	}
	// A list of everything that was revoked may be long, but not longer than this.
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("the broker's answer broke off: %w", err)
	}
	return body, nil
}
