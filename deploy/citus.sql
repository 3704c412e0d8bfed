-- Spreads the api's database over the nodes of a Citus cluster: once, as the owner, after the
-- migrations and before there are rows. Every key begins with organization_id, so all rows of one
-- organization lie on one node and no statement of the product crosses nodes.

SELECT create_distributed_table('organization', 'organization_id');
SELECT create_distributed_table('access_subject', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('agreement_template', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('api_key', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('authorization_code', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('client_assertion', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('connection', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('email_code', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('form', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('idempotency', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('identity_link', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('import_file', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('mapping', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('mapping_version', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('match_policy', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('match_preference', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('match_run', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('meeting', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('meeting_attendee', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('meeting_place', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('mentorship', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('mentorship_member', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('mentorship_private_reason', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('oauth_client', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('oidc_connection', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('organization_clock', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('outbox_message', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('participant', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('participant_track_role', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('past_pair', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('person', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('person_external_id', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('program', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('proposal', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('proposal_member', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('refresh_family', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('refresh_token', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('role_assignment', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('shortlist_entry', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('sign_in', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('sync_row', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('sync_run', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('text_vector', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('timer', 'organization_id', colocate_with => 'organization');
SELECT create_distributed_table('track', 'organization_id', colocate_with => 'organization');

-- Small tables of the installation, copied to every node.
SELECT create_reference_table('feed_epoch');
SELECT create_reference_table('organization_slug');
SELECT create_reference_table('relay_lease');
SELECT create_reference_table('signing_key');
