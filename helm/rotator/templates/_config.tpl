{{- /* rotator.yaml: what config says, and the paths, which are the chart's. */ -}}
{{- define "rotator.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $listen := merge (deepCopy ($config.listen | default dict)) (dict "address" "0.0.0.0" "port" 8400 "health_port" 8401) -}}
{{- if .Values.tls.existingSecret -}}
{{- $listen = merge $listen (dict "tls_certificate" "/etc/rotator/tls/tls.crt" "tls_key" "/etc/rotator/tls/tls.key") -}}
{{- end -}}
{{- $_ := set $config "listen" $listen -}}
{{- $_ := set $config "data_dir" "/var/lib/rotator" -}}
{{- with include "rotator.identities" . | fromYaml -}}
{{- $_ := set $config "kubernetes" . -}}
{{- end -}}
{{- $store := $config.secret_store -}}
{{- if eq $store.kind "local" -}}
{{- $_ := set $store "directory" "/var/lib/rotator/secret-store" -}}
{{- else if eq $store.kind "vault" -}}
{{- $method := dig "auth" "method" "" $store -}}
{{- if has $method (list "jwt" "kubernetes") -}}
{{- $_ := set $store.auth "jwt_file" "/var/run/secrets/rotator/vault/token" -}}
{{- else if eq $method "approle" -}}
{{- $_ := set $store.auth "secret_id_file" (printf "/etc/rotator/vault/%s" (include "rotator.vaultKey" .)) -}}
{{- else if eq $method "token" -}}
{{- $_ := set $store.auth "token_file" (printf "/etc/rotator/vault/%s" (include "rotator.vaultKey" .)) -}}
{{- end -}}
{{- if include "rotator.caSource" .Values.vault.ca -}}
{{- $_ := set $store "ca_cert" (printf "/etc/rotator/vault-ca/%s" .Values.vault.ca.key) -}}
{{- end -}}
{{- end -}}
{{- if eq $config.state_store.kind "postgresql" -}}
{{- $state := $config.state_store -}}
{{- with .passwordKey -}}
{{- $_ := set $state "password_file" (printf "/etc/rotator/database/%s" .) -}}
{{- end -}}
{{- with .user -}}
{{- $_ := set $state "user" . -}}
{{- end -}}
{{- if include "rotator.caSource" .Values.database.ca -}}
{{- $_ := set $state "ca_cert" (printf "/etc/rotator/database-ca/%s" .Values.database.ca.key) -}}
{{- end -}}
{{- end -}}
{{ toYaml $config }}
{{- end -}}

{{- /* Whose service-account tokens are taken: what config says, and the chart's own orchestrator. */ -}}
{{- define "rotator.identities" -}}
{{- $found := deepCopy (.Values.config.kubernetes | default dict) -}}
{{- if and .Values.orchestrator.clusters (not .Values.orchestrator.token.existingSecret) -}}
{{- $account := printf "%s/%s-orchestrator" .root.Release.Namespace (include "rotator.fullname" .root) -}}
{{- $own := dict "service_account" $account "role" "orchestrator" "clusters" (keys .Values.orchestrator.clusters | sortAlpha) -}}
{{- $_ := set $found "identities" (append ($found.identities | default list) $own) -}}
{{- end -}}
{{- if $found -}}
{{ toYaml $found }}
{{- end -}}
{{- end -}}

{{- define "rotator.asksKubernetes" -}}
{{- include "rotator.identities" (dict "root" . "Values" .Values) -}}
{{- end -}}

{{- /* Vault has the cluster review a token of the service account (kubernetes), or knows its keys (jwt). */ -}}
{{- define "rotator.vaultByToken" -}}
{{- has (dig "secret_store" "auth" "method" "" .Values.config) (list "jwt" "kubernetes") | ternary "yes" "" -}}
{{- end -}}

{{- define "rotator.vaultKey" -}}
{{- $method := dig "secret_store" "auth" "method" "" .Values.config -}}
{{- default (eq $method "approle" | ternary "secret-id" "token") .Values.vault.existingSecretKey -}}
{{- end -}}

{{- /* A volume of one key of a Secret, and no other of it. */ -}}
{{- define "rotator.secretSource" -}}
secret:
  secretName: {{ .name | quote }}
  defaultMode: 0440
  items: [{key: {{ .key | quote }}, path: {{ .key | quote }}}]
{{- end -}}

{{- /* The volume of an authority's certificate; empty if there is none. */ -}}
{{- define "rotator.caSource" -}}
{{- if .existingSecret -}}
{{- include "rotator.secretSource" (dict "name" .existingSecret "key" .key) -}}
{{- else if .existingConfigMap -}}
configMap:
  name: {{ .existingConfigMap | quote }}
  items: [{key: {{ .key | quote }}, path: {{ .key | quote }}}]
{{- end -}}
{{- end -}}

{{- /* What asks the Kubernetes API has a token for it, and whom to trust, where every client looks for them. */ -}}
{{- define "rotator.kubeVolume" -}}
- name: kube-api
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
      - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end -}}

{{- define "rotator.kubeMount" -}}
- {name: kube-api, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end -}}

{{- define "rotator.serverConfig" -}}
{{- $key := empty .Values.database.existingSecret | ternary "" .Values.database.existingSecretKey -}}
{{- include "rotator.config" (dict "root" . "Values" .Values "passwordKey" $key) -}}
{{- end -}}

{{- define "rotator.migrationConfig" -}}
{{- $key := empty .Values.database.existingSecret | ternary "" .Values.database.existingSecretKey -}}
{{- $key = empty .Values.migration.existingSecret | ternary $key .Values.migration.existingSecretKey -}}
{{- include "rotator.config" (dict "root" . "Values" .Values "passwordKey" $key "user" .Values.migration.user) -}}
{{- end -}}
