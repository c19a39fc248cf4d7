// Builds the lakeFS server from its published module, for machines where no release of it can be downloaded.
// go.sum was made once by `GONOSUMDB=github.com/treeverse/* go mod tidy`; builds are verified against it.
// The web interface is not part of the module: the server says so at its address, and needs it for nothing else.
package main

import "github.com/treeverse/lakefs/cmd/lakefs/cmd"

func main() {
	cmd.Execute()
}
