package interop

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"agentwrit.example/go/verify"
)

const issuer = "https://agentwrit.local"

func vector(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "vectors", name))
	if err != nil {
		t.Fatal(err)
	}
	unmarshal(t, data, into)
}

// thumbprint is the key's id (RFC 7638).
func thumbprint(t *testing.T, x string) string {
	t.Helper()
	hash := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + x + `"}`))
	return base64.RawURLEncoding.EncodeToString(hash[:])
}

// signer signs what we want with the key of the vectors, RFC 8032 §7.1 test 1.
type signer struct {
	key  ed25519.PrivateKey
	keys verify.KeySet
}

func newSigner(t *testing.T, seed string, jwks json.RawMessage) signer {
	t.Helper()
	bytes, err := hex.DecodeString(seed)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := verify.ParseKeys(jwks)
	if err != nil {
		t.Fatal(err)
	}
	return signer{ed25519.NewKeyFromSeed(bytes), keys}
}

func (s signer) sign(header, payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(header)) + "." + encode([]byte(payload))
	return signed + "." + encode(ed25519.Sign(s.key, []byte(signed)))
}

type delegationVector struct {
	Seed  string
	JWKS  json.RawMessage
	Now   time.Time
	Token string
}

func TestTheDelegatedTokenOfTheVectors(t *testing.T) {
	var v delegationVector
	vector(t, "delegation-chain.json", &v)
	s := newSigner(t, v.Seed, v.JWKS)
	verifier := verify.Verifier{Issuer: issuer, Keys: s.keys}
	claims, err := verifier.Verify(v.Token, v.Now)
	if err != nil {
		t.Fatal(err)
	}
	if len(claims.Chain) != 2 || !strings.HasSuffix(claims.Chain[0].Agent, "/0123456789abcdef") {
		t.Fatalf("%+v", claims)
	}

	end := time.Unix(claims.ExpiresAt, 0)
	for _, now := range []time.Time{end, end.Add(time.Hour), time.Unix(claims.NotBefore-6, 0)} {
		if _, err := verifier.Verify(v.Token, now); err == nil {
			t.Errorf("accepted at %s", now)
		}
	}
	if _, err := verifier.Verify(v.Token, end.Add(-time.Second)); err != nil {
		t.Error(err)
	}
	for _, other := range []verify.Verifier{
		{Issuer: "https://elsewhere.test", Keys: s.keys},
		{Issuer: issuer, Audience: "https://us.test", Keys: s.keys},
		{Issuer: issuer},
	} {
		if _, err := other.Verify(v.Token, v.Now); err == nil {
			t.Errorf("accepted by %+v", other)
		}
	}
}

// What only differs in form from a token that is accepted.
func TestForm(t *testing.T) {
	var v delegationVector
	vector(t, "delegation-chain.json", &v)
	s := newSigner(t, v.Seed, v.JWKS)
	const (
		header  = `{"alg":"EdDSA","typ":"JWT"}`
		payload = `{"iss":"` + issuer + `","sub":"s","jti":"j","sid":"s","scope":["a:b:c"],"iat":1,"nbf":1,"exp":9}`
	)
	added := func(object, text string) string { return strings.TrimSuffix(object, "}") + text + "}" }
	deep := func(depth int) string { return `,"x":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) }
	judge := func(audience, header, payload string) error {
		_, err := verify.Verifier{Issuer: issuer, Audience: audience, Keys: s.keys}.Verify(s.sign(header, payload), time.Unix(5, 0))
		return err
	}
	for _, text := range []string{"", " ", "\n", `,"x":null`, `,"x":{"y":1},"y":1`, `,"x":"\ud83d\ude00"`, deep(15)} {
		if err := judge("", added(header, text), added(payload, text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{
		",", ",,", ` "x":1`, `,"x"`, `,"x":`, `,"x" 1`, `,"x":1,`, `,x:1`, `,'x':1`, `,"x":01`, `,"x":tru`, `,"x":[1,]`, `,"x":[1 2]`,
		`,"x":{,}`, `,"x":"` + "\n" + `"`, `,"x":"` + "\xff" + `"`, `,"x":1,"x":1`, `,"x":1,"\u0078":1`, `,"x":{"y":1,"y":1}`, deep(16),
		`}{`, `}`,
	} {
		if judge("", added(header, text), payload) == nil {
			t.Errorf("%q in the header", text)
		}
		if judge("", header, added(payload, text)) == nil {
			t.Errorf("%q in the payload", text)
		}
	}
	for _, other := range []string{"", "null", "1", "[]", `"x"`, "[" + payload + "]", payload + payload} {
		if judge("", header, other) == nil {
			t.Errorf("%s for a payload", other)
		}
	}
	for _, text := range []string{`,"typ":1`, `,"typ":null`, `,"typ":["JWT"]`, `,"kid":null`, `,"kid":1`, `,"crit":null`, `,"jwk":{}`} {
		if judge("", added(`{"alg":"EdDSA"}`, text), payload) == nil {
			t.Errorf("%s in the header", text)
		}
	}
	for times, accepted := range map[string]bool{
		`"iat":1,"nbf":10,"exp":20`: true, `"iat":1,"nbf":11,"exp":20`: false,
		`"iat":10,"nbf":1,"exp":20`: true, `"iat":11,"nbf":1,"exp":20`: false,
		`"iat":1,"nbf":1,"exp":6`: true, `"iat":1,"nbf":1,"exp":5`: false,
		`"iat":-1,"nbf":1,"exp":9`: false, `"iat":1.5,"nbf":1,"exp":9`: false, `"iat":1,"nbf":1,"exp":"9"`: false,
		`"iat":1,"nbf":1,"exp":9e0`: false, `"iat":1,"nbf":1`: false, `"iat":1,"exp":9`: false, `"nbf":1,"exp":9`: false,
	} {
		if (judge("", header, strings.Replace(payload, `"iat":1,"nbf":1,"exp":9`, times, 1)) == nil) != accepted {
			t.Errorf("%s: accepted: %t", times, !accepted)
		}
	}
	const us = "https://us.test"
	for aud, accepted := range map[string]bool{
		``: false, `,"aud":[]`: false, `,"aud":["` + us + `"]`: true, `,"aud":["x","` + us + `"]`: true, `,"aud":["x"]`: false,
		`,"aud":null`: false, `,"aud":[1]`: false, `,"Aud":["` + us + `"]`: false,
	} {
		if (judge(us, header, added(payload, aud)) == nil) != accepted {
			t.Errorf("an audience, and %s: accepted: %t", aud, !accepted)
		}
	}
	if judge("", header, added(payload, `,"aud":["x"]`)) == nil {
		t.Error("token with an audience accepted without a configured audience")
	}
}

func TestScopes(t *testing.T) {
	for _, c := range []struct {
		granted, wanted string
		covered         bool
	}{
		{"read:data:x", "read:data:x", true},
		{"read:data:*", "read:data:x", true},
		{"read:data:*", "read:data:*", true},
		{"read:data:x", "read:data:*", false},
		{"read:data:x", "read:data:y", false},
		{"read:data:*", "read:database:x", false},
		{"read:data:*", "write:data:x", false},
		{"Read:data:*", "read:data:x", false},
		{"*", "read:data:x", false},
		{"*:*:*", "read:data:x", false},
		{"*", "", false},
	} {
		if verify.Covers([]string{c.granted}, c.wanted) != c.covered {
			t.Errorf("%s covers %s: %t", c.granted, c.wanted, !c.covered)
		}
	}
	if verify.Covers(nil, "read:data:x") {
		t.Error("nothing covers something")
	}
}

type feedVector struct {
	Seed string
	JWKS json.RawMessage
	Keys []struct{ Letter, Target, Key string }
	// The first is a snapshot.
	Responses []struct {
		JWS     string
		Payload struct{ Iat, Exp int64 }
	}
}

// A list that names exactly one target, signed with the key of the vectors.
func (v feedVector) listOf(t *testing.T, s signer, letter, key string, now int64) *verify.Revocations {
	t.Helper()
	payload, _ := json.Marshal(map[string]any{
		"iss": issuer, "iat": now, "exp": now + 300, "epoch": "e", "from": 0, "to": 1, "ttl": 5,
		"entries": []any{[]any{letter, key, now, now + 300}},
	})
	list, err := verify.ParseRevocations(s.sign(`{"alg":"EdDSA","typ":"agentwrit-revocations+jwt"}`, string(payload)),
		issuer, s.keys, time.Unix(now, 0))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestEachKindOfRevocation(t *testing.T) {
	var v feedVector
	vector(t, "revocation-feed.json", &v)
	s := newSigner(t, v.Seed, v.JWKS)
	const now = 1_795_248_100
	levels := map[string]bool{}
	for _, k := range v.Keys {
		levels[k.Letter] = true
		list := v.listOf(t, s, k.Letter, k.Key, now)
		named := verify.Claims{IssuedAt: now}
		var also *verify.Claims // what dies with it in a chain
		switch k.Letter {
		case "t":
			named.ID = k.Target
		case "s":
			named.Session = k.Target
			also = &verify.Claims{IssuedAt: now, Chain: []verify.Delegator{{Agent: "x"}, {Session: k.Target}}}
		case "a":
			named.Subject = k.Target
			also = &verify.Claims{IssuedAt: now, Chain: []verify.Delegator{{Agent: "x"}, {Agent: k.Target}}}
		case "k":
			named.Task = k.Target
		case "c":
			named.Subject = k.Target
			also = &verify.Claims{IssuedAt: now, Chain: []verify.Delegator{{Agent: k.Target}, {Agent: "x"}}}
		}
		at := time.Unix(now, 0)
		if err := list.Judge(named, at); !errors.Is(err, verify.ErrRevoked) {
			t.Errorf("%s %s: %v", k.Letter, k.Target, err)
		}
		if also != nil {
			if err := list.Judge(*also, at); !errors.Is(err, verify.ErrRevoked) {
				t.Errorf("%s %s in a chain: %v", k.Letter, k.Target, err)
			}
		}
		if err := list.Judge(verify.Claims{IssuedAt: now, ID: "another"}, at); err != nil {
			t.Errorf("%s kills a bystander: %v", k.Letter, err)
		}
		// Marks of agents, tasks and chains spare what was issued later; a token's or session's does not.
		named.IssuedAt = now + 1
		if spared := list.Judge(named, at) == nil; spared != strings.Contains("akc", k.Letter) {
			t.Errorf("%s: issued later, and spared: %t", k.Letter, spared)
		}
	}
	if len(levels) != 5 {
		t.Errorf("the vectors hold %v", levels)
	}
	everything := v.listOf(t, s, "i", "", now)
	if err := everything.Judge(verify.Claims{IssuedAt: now}, time.Unix(now, 0)); !errors.Is(err, verify.ErrRevoked) {
		t.Error("the issuer's own mark is not honoured")
	}
	if err := everything.Judge(verify.Claims{IssuedAt: now + 1}, time.Unix(now+1, 0)); err != nil {
		t.Error(err)
	}
}

func TestAListThatIsTooOldJudgesNothing(t *testing.T) {
	var v feedVector
	vector(t, "revocation-feed.json", &v)
	s := newSigner(t, v.Seed, v.JWKS)
	const now = 1_795_248_100
	list := v.listOf(t, s, "t", "AAAAAAAAAAAAAAAAAAAAAA", now)
	for age, stale := range map[int64]bool{0: false, 25: false, 26: true, 3600: true} {
		err := list.Judge(verify.Claims{IssuedAt: now}, time.Unix(now+age, 0))
		if errors.Is(err, verify.ErrStale) != stale {
			t.Errorf("after %d s: %v", age, err)
		}
	}
}

func TestListsThatAreRefused(t *testing.T) {
	var v feedVector
	vector(t, "revocation-feed.json", &v)
	s := newSigner(t, v.Seed, v.JWKS)
	const now = 1_795_248_100
	const header = `{"alg":"EdDSA","typ":"agentwrit-revocations+jwt"}`
	good := `{"iss":"` + issuer + `","iat":1795248100,"exp":1795248400,"from":0,"to":1,"entries":[["t","",1,2]]}`
	parse := func(jws string) error {
		_, err := verify.ParseRevocations(jws, issuer, s.keys, time.Unix(now, 0))
		return err
	}
	if err := parse(s.sign(header, good)); err != nil {
		t.Fatal(err)
	}
	for name, jws := range map[string]string{
		"a token":          s.sign(`{"alg":"EdDSA","typ":"JWT"}`, good),
		"no type":          s.sign(`{"alg":"EdDSA"}`, good),
		"unsigned":         s.sign(`{"alg":"none","typ":"agentwrit-revocations+jwt"}`, good),
		"another key's":    s.sign(`{"alg":"EdDSA","typ":"agentwrit-revocations+jwt","kid":"other"}`, good),
		"another issuer's": s.sign(header, strings.Replace(good, "agentwrit", "elsewhere", 1)),
		"a delta":          s.sign(header, strings.Replace(good, `"from":0`, `"from":1`, 1)),
		"the future":       s.sign(header, strings.Replace(good, "1795248100", "1795248106", 1)),
		"expired":          s.sign(header, strings.Replace(good, "1795248400", "1795248100", 1)),
		"an unknown level": s.sign(header, strings.Replace(good, `"t"`, `"z"`, 1)),
		"a short entry":    s.sign(header, strings.Replace(good, `,1,2]`, `,1]`, 1)),
		"no entries":       s.sign(header, strings.Replace(good, `"entries"`, `"other"`, 1)),
		"twice":            s.sign(header, strings.Replace(good, `"from":0`, `"from":0,"from":0`, 1)),
		"altered":          s.sign(header, good)[:20] + "x" + s.sign(header, good)[21:],
		"empty":            "",
	} {
		if parse(jws) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTheListOfTheVectors(t *testing.T) {
	var v feedVector
	vector(t, "revocation-feed.json", &v)
	s := newSigner(t, v.Seed, v.JWKS)
	snapshot := v.Responses[0]
	now := time.Unix(snapshot.Payload.Iat, 0)
	list, err := verify.ParseRevocations(snapshot.JWS, issuer, s.keys, now)
	if err != nil {
		t.Fatal(err)
	}
	if !list.AsOf.Equal(now) {
		t.Error(list.AsOf)
	}
	for _, delta := range v.Responses[1:] {
		if _, err := verify.ParseRevocations(delta.JWS, issuer, s.keys, time.Unix(delta.Payload.Iat, 0)); err == nil {
			t.Error("a delta taken for the whole list")
		}
	}
}

func TestKeySetsThatAreRefused(t *testing.T) {
	const good = `{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	for name, set := range map[string]string{
		"nothing":          ``,
		"no keys":          `{"keys":[]}`,
		"no list":          `{"keys":1}`,
		"other kinds only": `{"keys":[{"kty":"RSA","kid":"a","n":"AA","e":"AQAB"},{"kty":"OKP","crv":"X25519","kid":"b","x":"AA"}]}`,
		"too short":        `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"AA"}]}`,
		"no id":            `{"keys":[` + strings.Replace(good, `"kid":"a",`, "", 1) + `]}`,
		"padding":          `{"keys":[` + strings.Replace(good, `URo"`, `URo="`, 1) + `]}`,
		"twice":            `{"keys":[` + good + `,` + good + `]}`,
	} {
		if _, err := verify.ParseKeys([]byte(set)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if keys, err := verify.ParseKeys([]byte(`{"keys":[{"kty":"RSA"},` + good + `]}`)); err != nil || len(keys) != 1 {
		t.Error(keys, err)
	}
}

func TestScopesCoverAsTheVectorsSay(t *testing.T) {
	var v struct {
		Coverage []struct {
			Held    []string
			Wanted  string
			Covered bool
		}
	}
	vector(t, "scopes.json", &v)
	for _, c := range v.Coverage {
		if verify.Covers(c.Held, c.Wanted) != c.Covered {
			t.Errorf("%v covers %s: %t", c.Held, c.Wanted, !c.Covered)
		}
	}
	for _, wanted := range []string{"", "read", "read:data", "read:data:", "read::x", ":data:x"} {
		if verify.Covers([]string{"read:data:*", wanted}, wanted) {
			t.Errorf("%q is no scope, and is covered", wanted)
		}
	}
	if len(v.Coverage) < 13 {
		t.Errorf("only %d pairs", len(v.Coverage))
	}
}
