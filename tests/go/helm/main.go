// Renders a chart as `helm template` does, with Helm's own engine: helm <chart directory> <namespace> <file of values>.
package main

import (
	"fmt"
	"os"
	"sort"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

func main() {
	manifests, err := render(os.Args[1], os.Args[2], os.Args[3])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	names := make([]string, 0, len(manifests))
	for name := range manifests {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Printf("---\n# Source: %s\n%s\n", name, manifests[name])
	}
}

func render(directory, namespace, file string) (map[string]string, error) {
	chart, err := loader.Load(directory)
	if err != nil {
		return nil, err
	}
	given, err := chartutil.ReadValuesFile(file)
	if err != nil {
		return nil, err
	}
	options := chartutil.ReleaseOptions{Name: "agentwrit", Namespace: namespace, IsInstall: true, Revision: 1}
	// Checks the values by the chart's schema too.
	values, err := chartutil.ToRenderValues(chart, given, options, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true}.Render(chart, values)
}
