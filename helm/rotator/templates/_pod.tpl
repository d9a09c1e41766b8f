{{- /* What every pod of the chart has. */ -}}
{{- define "rotator.podBasics" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "rotator.containerBasics" -}}
image: {{ include "rotator.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- end -}}

{{- /* The service: the same in a StatefulSet (SQLite) and a Deployment (PostgreSQL). */ -}}
{{- define "rotator.serverPod" -}}
metadata:
  labels:
    {{- include "rotator.labels" (dict "root" . "component" "server") | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "rotator.serverConfig" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "rotator.serviceAccountName" . }}
  {{- include "rotator.podBasics" . | nindent 2 }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
  {{- else if gt (int .Values.replicaCount) 1 }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "rotator.selectorLabels" (dict "root" $ "component" "server") | nindent 10 }}
    {{- end }}
  {{- end }}
  containers:
    - name: rotator
      {{- include "rotator.containerBasics" . | nindent 6 }}
      args: [serve, --config, /etc/rotator/rotator.yaml]
      {{- with .Values.extraEnv }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - {name: api, containerPort: 8400, protocol: TCP}
        - {name: health, containerPort: 8401, protocol: TCP}
      startupProbe:
        {{- toYaml .Values.startupProbe | nindent 8 }}
      livenessProbe:
        {{- toYaml .Values.livenessProbe | nindent 8 }}
      readinessProbe:
        {{- toYaml .Values.readinessProbe | nindent 8 }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        {{- include "rotator.serverMounts" . | nindent 8 }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "rotator.serverVolumes" . | nindent 4 }}
{{- end -}}

{{- define "rotator.serverMounts" -}}
- {name: config, mountPath: /etc/rotator/rotator.yaml, subPath: rotator.yaml, readOnly: true}
- {name: tmp, mountPath: /tmp}
- {name: data, mountPath: /var/lib/rotator}
{{- if .Values.tls.existingSecret }}
- {name: tls, mountPath: /etc/rotator/tls, readOnly: true}
{{- end }}
{{- if include "rotator.vaultByToken" . }}
- {name: vault-token, mountPath: /var/run/secrets/rotator/vault, readOnly: true}
{{- end }}
{{- if .Values.vault.existingSecret }}
- {name: vault, mountPath: /etc/rotator/vault, readOnly: true}
{{- end }}
{{- if include "rotator.caSource" .Values.vault.ca }}
- {name: vault-ca, mountPath: /etc/rotator/vault-ca, readOnly: true}
{{- end }}
{{- if .Values.database.existingSecret }}
- {name: database, mountPath: /etc/rotator/database, readOnly: true}
{{- end }}
{{- if include "rotator.caSource" .Values.database.ca }}
- {name: database-ca, mountPath: /etc/rotator/database-ca, readOnly: true}
{{- end }}
{{- if include "rotator.asksKubernetes" . }}
{{ include "rotator.kubeMount" . }}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "rotator.serverVolumes" -}}
- name: config
  configMap: {name: {{ include "rotator.fullname" . }}}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
{{- if eq .Values.config.state_store.kind "postgresql" }}
- name: data
  emptyDir: {sizeLimit: 16Mi}
{{- else if .Values.persistence.existingClaim }}
- name: data
  persistentVolumeClaim: {claimName: {{ .Values.persistence.existingClaim }}}
{{- end }}
{{- if .Values.tls.existingSecret }}
- name: tls
  secret: {secretName: {{ .Values.tls.existingSecret | quote }}, defaultMode: 0440}
{{- end }}
{{- if include "rotator.vaultByToken" . }}
- name: vault-token
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken:
          path: token
          audience: {{ .Values.vault.tokenAudience | quote }}
          expirationSeconds: {{ .Values.vault.tokenExpirationSeconds }}
{{- end }}
{{- with .Values.vault.existingSecret }}
- name: vault
  {{- include "rotator.secretSource" (dict "name" . "key" (include "rotator.vaultKey" $)) | nindent 2 }}
{{- end }}
{{- with include "rotator.caSource" .Values.vault.ca }}
- name: vault-ca
  {{- . | nindent 2 }}
{{- end }}
{{- with .Values.database.existingSecret }}
- name: database
  {{- include "rotator.secretSource" (dict "name" . "key" $.Values.database.existingSecretKey) | nindent 2 }}
{{- end }}
{{- if include "rotator.asksKubernetes" . }}
{{ include "rotator.kubeVolume" . }}
{{- end }}
{{- with include "rotator.caSource" .Values.database.ca }}
- name: database-ca
  {{- . | nindent 2 }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
