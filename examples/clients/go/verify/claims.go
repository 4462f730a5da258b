package verify

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// Claims are what a verified token says.
type Claims struct {
	ID, Session, Subject string
	Task, Orchestration  string // empty unless it is an agent's
	Scope, Audience      []string
	IssuedAt, ExpiresAt  int64
	NotBefore            int64
	Chain                []Delegator // root first; empty unless it was delegated
}

// Delegator is an agent that delegated this token or an ancestor of it.
type Delegator struct{ Agent, Session string }

// Tells a text that must be there from one that may be.
const (
	required = true
	optional = false
)

func readClaims(payload members) (Claims, error) {
	// A token that is bound to a key must not be accepted without a proof (RFC 9449 §7.2), which this package does not judge.
	if _, bound := payload["cnf"]; bound {
		return Claims{}, errors.New("the token is bound to a key and needs a proof")
	}
	r := reader{members: payload}
	claims := Claims{
		ID:            r.text("jti", required),
		Session:       r.text("sid", required),
		Subject:       r.text("sub", required),
		Task:          r.text("task_id", optional),
		Orchestration: r.text("orch_id", optional),
		Scope:         r.texts("scope", required),
		Audience:      r.texts("aud", optional),
		IssuedAt:      r.seconds("iat"),
		NotBefore:     r.seconds("nbf"),
		ExpiresAt:     r.seconds("exp"),
	}
	for _, record := range r.list("delegation_chain", optional) {
		named, _ := record.(members)
		inner := reader{members: named}
		claims.Chain = append(claims.Chain, Delegator{inner.text("agent", required), inner.text("sid", required)})
		if inner.err != nil {
			return Claims{}, fmt.Errorf("delegation chain: %w", inner.err)
		}
	}
	return claims, r.err
}

// reader remembers the first member that is not what it should be.
type reader struct {
	members members
	err     error
}

func (r *reader) fail(name string) {
	if r.err == nil {
		r.err = fmt.Errorf("`%s` is missing or malformed", name)
	}
}

func (r *reader) text(name string, must bool) string {
	value, found := r.members[name]
	text, ok := value.(string)
	if found && text == "" || must && !ok {
		r.fail(name)
	}
	return text
}

func (r *reader) list(name string, must bool) []any {
	value, found := r.members[name]
	list, ok := value.([]any)
	if !ok && (found || must) {
		r.fail(name)
	}
	return list
}

func (r *reader) texts(name string, must bool) []string {
	var texts []string
	for _, value := range r.list(name, must) {
		text, ok := value.(string)
		if !ok {
			r.fail(name)
		}
		texts = append(texts, text)
	}
	if must && len(texts) == 0 {
		r.fail(name)
	}
	return texts
}

func (r *reader) seconds(name string) int64 {
	number, _ := r.members[name].(json.Number)
	seconds, err := strconv.ParseInt(number.String(), 10, 64)
	if err != nil || seconds < 0 {
		r.fail(name)
	}
	return seconds
}
