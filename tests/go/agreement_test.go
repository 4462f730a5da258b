// Our tokens before Go's standard library, as examples/clients/go uses it.
package interop

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"

	"agentwrit.example/go/verify"
)

// Tokens that the Go verifier accepts and ours refuses, by the name of our error.
var whyWeRefuse = map[string]string{
	"Chain":            "it leaves the chain to the signature over the token",
	"Malformed.Header": "it doesn't read numbers that mean nothing to it, such as 1e999",
	"Malformed.Claims": "it doesn't look at the shape of ids and scopes, nor at such numbers",
}

// And the other way round: seconds are an int64 to Go.
const whyGoRefuses = "it reads no `exp` from 2^63 seconds on"

type judged struct {
	Token    string         `json:"token"`
	Accepted bool           `json:"accepted"`
	Error    string         `json:"error"`
	Claims   map[string]any `json:"claims"`
}

// On thousands of tokens, good and spoilt, whatever our verifier accepts this one accepts with the same claims. Where it
// accepts more, whyWeRefuse says why.
//
// `cargo test -p agentwrit-verify --all-features` writes the corpus.
func TestAgreement(t *testing.T) {
	path := os.Getenv("AGENTWRIT_CORPUS")
	if path == "" {
		path = filepath.Join("..", "..", "target", "tmp", "agreement", "corpus.jsonl")
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	// The tokens were judged when the file was written, and soon expire.
	written, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)

	lines.Scan()
	var first struct{ Issuer, Audience, X string }
	unmarshal(t, lines.Bytes(), &first)
	set, _ := json.Marshal(map[string]any{"keys": []any{
		map[string]string{"kty": "OKP", "crv": "Ed25519", "x": first.X, "kid": thumbprint(t, first.X)},
	}})
	keys, err := verify.ParseKeys(set)
	if err != nil {
		t.Fatal(err)
	}
	verifier := verify.Verifier{Issuer: first.Issuer, Audience: first.Audience, Keys: keys}

	both, neither, disagreements := 0, 0, map[string]int{}
	for lines.Scan() {
		var ours judged
		unmarshal(t, lines.Bytes(), &ours)
		claims, refusal := verifier.Verify(ours.Token, written.ModTime())
		switch {
		case ours.Accepted && refusal == nil:
			assertSame(t, ours.Claims, claims)
			both++
		case !ours.Accepted && refusal != nil:
			neither++
		case ours.Accepted:
			if exp, _ := ours.Claims["exp"].(float64); exp < 1<<63 {
				t.Fatalf("only we accept %s: %v", ours.Token, refusal)
			}
			disagreements[whyGoRefuses]++
		default:
			if whyWeRefuse[ours.Error] == "" || ours.Error == "Malformed.Header" && !hasSuchNumbers(ours.Token) {
				t.Fatalf("%s, but Go accepts %s", ours.Error, ours.Token)
			}
			disagreements[ours.Error]++
		}
	}
	if lines.Err() != nil || both <= 2000 || neither <= 1000 {
		t.Fatalf("%d accepted by both, %d refused by both: %v", both, neither, lines.Err())
	}
	t.Logf("%d accepted by both with the same claims, %d refused by both", both, neither)
	t.Logf("%d: %s", disagreements[whyGoRefuses], whyGoRefuses)
	for _, name := range names(whyWeRefuse) {
		t.Logf("%d %s: %s", disagreements[name], name, whyWeRefuse[name])
		if disagreements[name] == 0 {
			t.Errorf("%s: an explanation left over from what has been mended", name)
		}
	}
	if disagreements[whyGoRefuses] == 0 {
		t.Errorf("an explanation left over: %s", whyGoRefuses)
	}
}

func hasSuchNumbers(token string) bool {
	header, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	return strings.Contains(string(header), "1e999")
}

func assertSame(t *testing.T, ours map[string]any, theirs verify.Claims) {
	t.Helper()
	got := map[string]any{
		"jti": theirs.ID, "sid": theirs.Session, "sub": theirs.Subject,
		"iat": float64(theirs.IssuedAt), "nbf": float64(theirs.NotBefore), "exp": float64(theirs.ExpiresAt),
		"scope": list(theirs.Scope), "aud": list(theirs.Audience),
		"task_id": orNil(theirs.Task), "orch_id": orNil(theirs.Orchestration),
	}
	for name, value := range got {
		if !reflect.DeepEqual(ours[name], value) {
			t.Fatalf("%s: %v, but Go reads %v", name, ours[name], value)
		}
	}
	chain, _ := ours["delegation_chain"].([]any)
	if len(chain) != len(theirs.Chain) {
		t.Fatalf("%d delegations, but Go reads %d", len(chain), len(theirs.Chain))
	}
	for i, record := range chain {
		record := record.(map[string]any)
		if theirs.Chain[i] != (verify.Delegator{Agent: record["agent"].(string), Session: record["sid"].(string)}) {
			t.Fatalf("delegator %d: %v, but Go reads %v", i, record, theirs.Chain[i])
		}
	}
}

func list(texts []string) any {
	values := make([]any, len(texts))
	for i, text := range texts {
		values[i] = text
	}
	return values
}

func orNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func names(of map[string]string) []string {
	var names []string
	for name := range of {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func unmarshal(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}
