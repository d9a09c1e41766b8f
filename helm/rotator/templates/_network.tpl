{{- /* `to` is left out where no peer is named: then it is anywhere, on that port. */ -}}
{{- define "rotator.egress" -}}
- ports:
    {{- range .ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with .peers }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "rotator.egressDns" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
  to:
    {{- toYaml .Values.networkPolicy.dns | nindent 4 }}
{{- end -}}

{{- define "rotator.egressDatabase" -}}
{{- if eq .Values.config.state_store.kind "postgresql" -}}
{{- include "rotator.egress" (dict "ports" (list (.Values.config.state_store.port | default 5432 | int)) "peers" .Values.networkPolicy.database) -}}
{{- end -}}
{{- end -}}

{{- /* The ports of the secrets manager; AWS has 443 besides, where roles are exchanged for credentials. */ -}}
{{- define "rotator.egressStore" -}}
{{- $store := .Values.config.secret_store -}}
{{- if ne $store.kind "local" -}}
{{- $address := $store.address | default $store.endpoint | default "https://" -}}
{{- $port := regexFind ":[0-9]+$" (urlParse $address).host | trimPrefix ":" -}}
{{- $port = default (hasPrefix "http://" $address | ternary "80" "443") $port -}}
{{- $ports := eq $store.kind "aws" | ternary (list "443" $port | uniq) (list $port) -}}
{{- include "rotator.egress" (dict "ports" $ports "peers" .Values.networkPolicy.secretStore) -}}
{{- end -}}
{{- end -}}

{{- define "rotator.egressKubernetes" -}}
{{- include "rotator.egress" (dict "ports" (list 443 6443) "peers" .Values.networkPolicy.kubernetesApi) -}}
{{- end -}}
