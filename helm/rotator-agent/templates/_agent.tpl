{{- /*
Each template takes (dict "root" $ "agent" .Values.agent). What agent may say: README.md. Defaults, and what is missing:
*/ -}}
{{- define "rotator.agent.settings" -}}
{{- $known := list "image" "imagePullPolicy" "service" "cluster" "node" "token" "ca" "bootTimeoutSeconds" "resources" "securityContext" "leaveOnStop" "extraVolumeMounts" -}}
{{- range $key, $_ := .agent -}}
{{- if not (has $key $known) -}}
{{- fail (printf "agent.%s: there is no such value; there are %s" $key (join ", " $known)) -}}
{{- end -}}
{{- end -}}
{{- range list "image" "service" "cluster" "node" -}}
{{- if not (index $.agent .) -}}
{{- fail (printf "agent.%s is missing" .) -}}
{{- end -}}
{{- end -}}
{{- if not .agent.node.name -}}
{{- fail "agent.node.name is missing: what node() says, such as orders@$(POD_NAME).orders-nodes.$(POD_NAMESPACE).svc.cluster.local" -}}
{{- end -}}
{{- if and (not (hasPrefix "https://" .agent.service)) (not (regexMatch "^http://(localhost|127\\.0\\.0\\.1)[:/]?" .agent.service)) -}}
{{- fail "agent.service: cookies would cross the network in the clear; https:// is wanted" -}}
{{- end -}}
{{- $defaults := dict
  "imagePullPolicy" "IfNotPresent"
  "token" dict
  "ca" dict
  "bootTimeoutSeconds" 300
  "leaveOnStop" false
  "extraVolumeMounts" list
  "resources" (dict "requests" (dict "cpu" "20m" "memory" "64Mi") "limits" (dict "memory" "128Mi"))
  "securityContext" (dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true "runAsNonRoot" true "capabilities" (dict "drop" (list "ALL")) "seccompProfile" (dict "type" "RuntimeDefault"))
-}}
{{- toYaml (merge (deepCopy .agent) $defaults) -}}
{{- end -}}

{{- define "rotator.agent.name" -}}
{{- printf "%s-%s" .root.Release.Name .agent.cluster | replace "." "-" | replace "_" "-" | trunc 48 | trimSuffix "-" }}-rotator-agent
{{- end -}}

{{- /* A whole object: agent.yaml. No secret is in it. One for all pods: the node's name is made of each pod's environment. */ -}}
{{- define "rotator.agent.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "rotator.agent.name" . }}
  namespace: {{ .root.Release.Namespace }}
data:
  agent.yaml: |
    {{- include "rotator.agent.config" . | nindent 4 }}
{{- end -}}

{{- define "rotator.agent.config" -}}
{{- $agent := include "rotator.agent.settings" . | fromYaml -}}
{{- $boot := dict "erl" "boot.args" "rabbitmq" "boot.env" "elixir" "boot.terms" -}}
{{- $format := $agent.node.boot_format | default "erl" -}}
{{- $node := merge (deepCopy $agent.node) (dict
  "cookie_file" "/run/rotator/.erlang.cookie"
  "boot_file" (printf "/run/rotator/%s" (index $boot $format))
  "boot_format" $format
  "own_pid_namespace" true
) -}}
{{- $config := dict
  "service" $agent.service
  "cluster" $agent.cluster
  "token_file" (include "rotator.agent.tokenFile" $agent)
  "state_dir" "/var/lib/rotator-agent/state"
  "leave_on_stop" $agent.leaveOnStop
  "nodes" (list $node)
-}}
{{- if or $agent.ca.existingSecret $agent.ca.existingConfigMap -}}
{{- $_ := set $config "ca_cert" (printf "/etc/rotator/ca/%s" ($agent.ca.key | default "ca.crt")) -}}
{{- end -}}
{{ toYaml $config }}
{{- end -}}

{{- define "rotator.agent.tokenFile" -}}
/var/run/secrets/rotator/{{ empty .token.existingSecret | ternary "token" (.token.key | default "token") }}
{{- end -}}

{{- /* Goes on the pod: so that the service's NetworkPolicy lets it in, and so that a changed agent.yaml is read. */ -}}
{{- define "rotator.agent.podLabels" -}}
rotator-client: "true"
{{- end -}}

{{- define "rotator.agent.podAnnotations" -}}
checksum/rotator-agent: {{ include "rotator.agent.config" . | sha256sum }}
{{- end -}}

{{- define "rotator.agent.container" -}}
{{- $agent := include "rotator.agent.settings" . | fromYaml -}}
image: {{ $agent.image | quote }}
imagePullPolicy: {{ $agent.imagePullPolicy }}
securityContext:
  {{- toYaml $agent.securityContext | nindent 2 }}
env:
  - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
  - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
resources:
  {{- toYaml $agent.resources | nindent 2 }}
volumeMounts:
  - {name: rotator-config, mountPath: /etc/rotator/agent.yaml, subPath: agent.yaml, readOnly: true}
  - {name: rotator-token, mountPath: /var/run/secrets/rotator, readOnly: true}
  - {name: rotator-files, mountPath: /run/rotator}
  - {name: rotator-state, mountPath: /var/lib/rotator-agent}
  {{- if or $agent.ca.existingSecret $agent.ca.existingConfigMap }}
  - {name: rotator-ca, mountPath: /etc/rotator/ca, readOnly: true}
  {{- end }}
  {{- with $agent.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /*
An init container: both files are written, and the node may boot, before the application's container starts. It does
not run again when only that container restarts: then the files are those that the sidecar has kept.
*/ -}}
{{- define "rotator.agent.initContainer" -}}
{{- $agent := include "rotator.agent.settings" . | fromYaml -}}
- name: rotator-boot
  args: [agent, boot, --config, /etc/rotator/agent.yaml, --timeout, {{ $agent.bootTimeoutSeconds | quote }}]
  {{- include "rotator.agent.container" . | nindent 2 }}
{{- end -}}

{{- /*
The agent itself, a sidecar as Kubernetes has them since 1.29: it goes under initContainers, after
rotator.agent.initContainer. It starts before the application's container, goes on when that one restarts, and ends after it.
*/ -}}
{{- define "rotator.agent.sidecar" -}}
- name: rotator-agent
  args: [agent, --config, /etc/rotator/agent.yaml]
  restartPolicy: Always
  {{- include "rotator.agent.container" . | nindent 2 }}
{{- end -}}

{{- /* The application's container: it reads /run/rotator at each of its starts. */ -}}
{{- define "rotator.agent.volumeMounts" -}}
- {name: rotator-files, mountPath: /run/rotator, readOnly: true}
{{- end -}}

{{- /* One key of a Secret, and no other of it. */ -}}
{{- define "rotator.agent.secretSource" -}}
secret:
  secretName: {{ .name | quote }}
  defaultMode: 0440
  items: [{key: {{ .key | quote }}, path: {{ .key | quote }}}]
{{- end -}}

{{- /* Cookies are in memory alone, and go with the pod. */ -}}
{{- define "rotator.agent.volumes" -}}
{{- $agent := include "rotator.agent.settings" . | fromYaml -}}
- name: rotator-config
  configMap: {name: {{ include "rotator.agent.name" . }}}
- name: rotator-files
  emptyDir: {medium: Memory, sizeLimit: 4Mi}
- name: rotator-state
  emptyDir: {medium: Memory, sizeLimit: 4Mi}
- name: rotator-token
  {{- if $agent.token.existingSecret }}
  {{- include "rotator.agent.secretSource" (dict "name" $agent.token.existingSecret "key" ($agent.token.key | default "token")) | nindent 2 }}
  {{- else }}
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken:
          path: token
          audience: {{ $agent.token.audience | default "rotator" | quote }}
          expirationSeconds: {{ $agent.token.expirationSeconds | default 3600 }}
  {{- end }}
{{- if $agent.ca.existingSecret }}
- name: rotator-ca
  {{- include "rotator.agent.secretSource" (dict "name" $agent.ca.existingSecret "key" ($agent.ca.key | default "ca.crt")) | nindent 2 }}
{{- else if $agent.ca.existingConfigMap }}
- name: rotator-ca
  configMap:
    name: {{ $agent.ca.existingConfigMap | quote }}
    items: [{key: {{ $agent.ca.key | default "ca.crt" | quote }}, path: {{ $agent.ca.key | default "ca.crt" | quote }}}]
{{- end }}
{{- end -}}
