{{- /* What the schema cannot say: each with the reason, and what to do. */ -}}
{{- define "rotator.checks" -}}
{{- $config := .Values.config -}}
{{- if not .Values.image.repository -}}
{{- fail "image.repository: no image is published; build deploy/Dockerfile, push it to where your cluster pulls from, and name it here" -}}
{{- end -}}
{{- if not $config.secret_store -}}
{{- fail "config.secret_store: say where cookies are kept, such as {kind: vault, address: https://vault.vault:8200, auth: {method: kubernetes, role: rotator}}" -}}
{{- end -}}
{{- $isSqlite := eq $config.state_store.kind "sqlite" -}}
{{- if and $isSqlite (gt (int .Values.replicaCount) 1) -}}
{{- fail "replicaCount is more than 1, and config.state_store.kind is sqlite: a file has room for one process, a second one would wait for its lock for ever. Set replicaCount to 1, or config.state_store to PostgreSQL" -}}
{{- end -}}
{{- if and (eq $config.secret_store.kind "local") (not $isSqlite) -}}
{{- fail "config.secret_store.kind is local, and config.state_store.kind is postgresql: replicas would each have cookies of their own. Take vault or aws, or SQLite and one replica for a trial" -}}
{{- end -}}
{{- $isPlain := dig "listen" "plain_http" false $config -}}
{{- if and .Values.tls.existingSecret $isPlain -}}
{{- fail "tls.existingSecret and config.listen.plain_http exclude each other" -}}
{{- end -}}
{{- if not (or .Values.tls.existingSecret $isPlain) -}}
{{- fail "tls.existingSecret: cookies would cross the network in the clear. Name a Secret with tls.crt and tls.key, or set config.listen.plain_http: true if a proxy in the pod does TLS" -}}
{{- end -}}
{{- if and .Values.tls.certManager.enabled (not .Values.tls.certManager.issuerRef.name) -}}
{{- fail "tls.certManager.issuerRef.name: who signs the certificate?" -}}
{{- end -}}
{{- $method := dig "secret_store" "auth" "method" "" $config -}}
{{- if and (has $method (list "approle" "token")) (not .Values.vault.existingSecret) -}}
{{- fail (printf "vault.existingSecret: config.secret_store.auth.method is %s, so name the Secret with what it logs in with" $method) -}}
{{- end -}}
{{- if and .Values.vault.existingSecret (not (has $method (list "approle" "token"))) -}}
{{- fail "vault.existingSecret is for config.secret_store.auth.method approle and token; take it away, or another method" -}}
{{- end -}}
{{- if and .Values.database.existingSecret $isSqlite -}}
{{- fail "database.existingSecret is for config.state_store.kind postgresql" -}}
{{- end -}}
{{- if and .Values.orchestrator.clusters (not .Values.tls.existingSecret) -}}
{{- fail "orchestrator.clusters: orchestrators send their token over TLS alone; name tls.existingSecret" -}}
{{- end -}}
{{- range $cluster, $_ := .Values.orchestrator.clusters -}}
{{- if not (hasKey $config.clusters $cluster) -}}
{{- fail (printf "orchestrator.clusters.%s: there is no such cluster in config.clusters" $cluster) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not (and .Values.ingress.host .Values.ingress.tlsSecret)) -}}
{{- fail "ingress.host and ingress.tlsSecret: both are needed, tokens and cookies cross it" -}}
{{- end -}}
{{- end -}}
