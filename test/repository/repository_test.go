// Package repository_test checks what stands around the code: image, service files, manifests and forms. It is a module of its
// own, so that nobody else needs what it needs.
package repository_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const root = "../.."

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestTheDockerfileIsOneThatBuildKitTakesWithoutAWarning: the last stage runs as no root, and says whether it is healthy.
func TestTheDockerfileIsOneThatBuildKitTakesWithoutAWarning(t *testing.T) {
	parsed, err := parser.Parse(bytes.NewReader(read(t, "Dockerfile")))
	if err != nil {
		t.Fatal(err)
	}
	for _, warning := range parsed.Warnings {
		t.Error(warning.Short)
	}
	stages, _, err := instructions.Parse(parsed.AST, linter.New(&linter.Config{
		Warn: func(rule, _, _, text string, _ []parser.Range) { t.Errorf("%s: %s", rule, text) },
	}))
	if err != nil {
		t.Fatal(err)
	}
	if len(stages) < 2 {
		t.Error("there is one stage only")
	}
	var user, health string
	for _, command := range stages[len(stages)-1].Commands {
		switch command := command.(type) {
		case *instructions.UserCommand:
			user = command.User
		case *instructions.HealthCheckCommand:
			health = strings.Join(command.Health.Test, " ")
		case *instructions.CopyCommand:
			for _, source := range command.SourcePaths {
				if _, err := os.Stat(filepath.Join(root, source)); command.From == "" && err != nil {
					t.Error(err)
				}
			}
		}
	}
	if user == "" || strings.HasPrefix(user, "0") || strings.HasPrefix(user, "root") || health == "" {
		t.Errorf("user is %q, health check is %q", user, health)
	}
}

func TestTheComposeFileIsOneThatComposeTakes(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "compose.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	caddy := project.Services["caddy"]
	for _, volume := range caddy.Volumes {
		if _, err := os.Stat(volume.Source); volume.Type == "bind" && err != nil {
			t.Error(err)
		}
	}
	if caddy.StopGracePeriod == nil || time.Duration(*caddy.StopGracePeriod) <= drain(t, string(read(t, "deploy/Caddyfile"))) {
		t.Errorf("stop_grace_period is %v, which is no longer than drain", caddy.StopGracePeriod)
	}
}

// option is a duration in a Caddyfile.
func option(t *testing.T, caddyfile, name string) time.Duration {
	t.Helper()
	found := regexp.MustCompile(`\n\s*` + name + ` (\S+)\n`).FindStringSubmatch(caddyfile)
	if found == nil {
		t.Fatalf("no %s in %s", name, caddyfile)
	}
	d, err := time.ParseDuration(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func drain(t *testing.T, caddyfile string) time.Duration { return option(t, caddyfile, "drain") }

func TestThePodHasTimeToEndItsStreams(t *testing.T) {
	var (
		config     corev1.ConfigMap
		deployment appsv1.Deployment
		service    corev1.Service
		budget     policyv1.PodDisruptionBudget
	)
	kinds := map[string]any{"ConfigMap": &config, "Deployment": &deployment, "Service": &service, "PodDisruptionBudget": &budget}
	for document := range bytes.SplitSeq(read(t, "deploy/kubernetes/caddy-sse.yaml"), []byte("\n---\n")) {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(document, &kind); err != nil {
			t.Fatal(err)
		}
		object := kinds[kind.Kind]
		delete(kinds, kind.Kind)
		if object == nil {
			t.Fatalf("%q is one too many", kind.Kind)
		}
		// An unknown or misplaced field is an error.
		if err := yaml.UnmarshalStrict(document, object); err != nil {
			t.Errorf("%s: %v", kind.Kind, err)
		}
	}
	if len(kinds) > 0 {
		t.Fatalf("missing: %v", kinds)
	}
	pod := deployment.Spec.Template
	for key, value := range deployment.Spec.Selector.MatchLabels {
		if pod.Labels[key] != value || service.Spec.Selector[key] != value || budget.Spec.Selector.MatchLabels[key] != value {
			t.Errorf("label %s=%s is not the same everywhere", key, value)
		}
	}
	container := pod.Spec.Containers[0]
	caddyfile := config.Data["Caddyfile"]
	grace := option(t, caddyfile, "grace_period")
	if grace <= drain(t, caddyfile) {
		t.Errorf("grace_period is %s, which is no longer than drain", grace)
	}
	before := time.Duration(container.Lifecycle.PreStop.Sleep.Seconds) * time.Second
	if whole := time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second; whole <= before+grace {
		t.Errorf("terminationGracePeriodSeconds are %s, which is no longer than preStop (%s) and grace_period (%s)", whole, before, grace)
	}
	for _, mount := range container.VolumeMounts {
		if !slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == mount.Name }) {
			t.Errorf("no volume %s", mount.Name)
		}
	}
	if !*pod.Spec.SecurityContext.RunAsNonRoot || *container.SecurityContext.AllowPrivilegeEscalation {
		t.Error("it may become root")
	}
}

func TestTheUnitIsOneThatSystemdTakes(t *testing.T) {
	unit := string(read(t, "deploy/caddy-sse.service"))
	// systemd wants the program to be there.
	file := filepath.Join(t.TempDir(), "caddy-sse.service")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(unit, "/usr/local/bin/caddy", "/bin/true")), 0o644); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", file).CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("%v: %s", err, said)
	}
	// 0 is safe, 10 is not.
	if said, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=25", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, said)
	}
	stop := regexp.MustCompile(`\nTimeoutStopSec=(\S+)\n`).FindStringSubmatch(unit)
	if timeout, err := time.ParseDuration(stop[1]); err != nil || timeout <= drain(t, string(read(t, "deploy/Caddyfile"))) {
		t.Errorf("TimeoutStopSec is %s, which is no longer than drain: %v", stop[1], err)
	}
}

func TestIssueFormsAndRenovateAreWellFormed(t *testing.T) {
	var config map[string]any
	if err := json.Unmarshal(read(t, "renovate.json"), &config); err != nil {
		t.Errorf("renovate.json: %v", err)
	}
	forms, err := filepath.Glob(filepath.Join(root, ".github/ISSUE_TEMPLATE/*.yml"))
	if err != nil || len(forms) < 3 {
		t.Fatalf("%d issue forms: %v", len(forms), err)
	}
	for _, form := range forms {
		name := filepath.Base(form)
		text, err := os.ReadFile(form)
		if err != nil {
			t.Fatal(err)
		}
		// https://docs.github.com/communities/using-templates-to-encourage-useful-issues-and-pull-requests/syntax-for-githubs-form-schema
		var parsed struct {
			Name, Description, Title string
			Labels                   []string
			Body                     []struct {
				Type, ID    string
				Attributes  map[string]any
				Validations map[string]bool
			}
			BlankIssues *bool                               `json:"blank_issues_enabled"`
			Links       []struct{ Name, URL, About string } `json:"contact_links"`
		}
		if err := yaml.UnmarshalStrict(text, &parsed); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "config.yml" {
			if parsed.BlankIssues == nil || len(parsed.Links) == 0 {
				t.Errorf("%s has no links", name)
			}
			continue
		}
		ids := make(map[string]bool)
		for _, field := range parsed.Body {
			if field.Type != "markdown" && (field.ID == "" || ids[field.ID] || fmt.Sprint(field.Attributes["label"]) == "") {
				t.Errorf("%s: field %q has no id of its own, or no label", name, field.ID)
			}
			if !slices.Contains([]string{"markdown", "textarea", "input", "dropdown", "checkboxes"}, field.Type) {
				t.Errorf("%s: no field is of type %q", name, field.Type)
			}
			ids[field.ID] = true
		}
		if parsed.Name == "" || parsed.Description == "" || len(ids) == 0 {
			t.Errorf("%s has no name, no description or no field", name)
		}
	}
}
