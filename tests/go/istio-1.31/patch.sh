# istio.io/istio
# Run in a copy of the module named above, before it is built.

change() {
    sed -i "s|$2|$3|" "$1"
    grep -qF "$4" "$1"
}

# Without Kubernetes this version of istiod would end at once: it asks for the namespaces of a cluster that is
# not there. It gets none instead.
change pilot/pkg/serviceregistry/serviceentry/controller.go \
    'multiclusterController.ConfigCluster().Namespaces()' \
    'krt.NewStaticCollection[*v1.Namespace](nil, nil, s.opts.WithName("inputs/Namespaces")...)' \
    'NewStaticCollection[*v1.Namespace]'

# In tests a proxy's agent listens on loopback alone.
change pilot/cmd/pilot-agent/status/server.go \
    'net.Listen("tcp", fmt.Sprintf(":%d", s.statusPort))' \
    'net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", s.statusPort))' \
    '127.0.0.1:%d'

# It keeps modules that it has fetched below the directory that it runs in, not the machine's.
change pkg/istio-agent/xds_proxy.go \
    'wasm.NewLocalFileCache(constants.IstioDataDir' \
    'wasm.NewLocalFileCache("."+constants.IstioDataDir' \
    '"."+constants.IstioDataDir'
